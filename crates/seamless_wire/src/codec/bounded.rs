//! Bounds on one decode, whatever the type.
//!
//! [`Bounded`] stands around every part that serde hands from one side to the other (deserializer,
//! visitor, accesses, seeds), so that it sees each sequence and each level of nesting before the
//! type does. It changes no byte of the format.

use std::marker::PhantomData;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::{FREE_ELEMENTS, MAX_DEPTH};
use crate::WireError;

/// What is left to one decode, and what broke it.
pub(super) struct Bounds {
    elements: usize,
    max_elements: usize,
    broken: Option<WireError>,
}

impl Bounds {
    /// For a value in `bytes` bytes.
    pub(super) const fn new(bytes: usize) -> Self {
        let max_elements = bytes + FREE_ELEMENTS;
        Self {
            elements: max_elements,
            max_elements,
            broken: None,
        }
    }

    /// What to give to the deserializer.
    pub(super) const fn seed<T: DeserializeOwned>(&mut self) -> Bounded<'_, PhantomData<T>> {
        Bounded {
            inner: PhantomData,
            bounds: self,
            depth: 0,
            counted: false,
        }
    }

    /// The bound that was passed, if one was. serde's own error has room for words only.
    pub(super) fn broken(self) -> Option<WireError> {
        self.broken
    }

    fn refuse<E: Error>(&mut self, error: WireError) -> E {
        let words = E::custom(&error);
        self.broken = Some(error);
        words
    }

    /// Takes the elements of one sequence from what is left, before the first is decoded.
    fn charge<E: Error>(&mut self, claimed: Option<usize>) -> Result<(), E> {
        // bincode knows every length; a sequence without one would have no bound.
        let claimed = claimed.unwrap_or(usize::MAX);
        if claimed > self.elements {
            let used = self.max_elements - self.elements;
            return Err(self.refuse(WireError::OutOfBounds {
                what: "elements of a value",
                value: (used as u64).saturating_add(claimed as u64),
                max: self.max_elements as u64,
            }));
        }
        self.elements -= claimed;
        Ok(())
    }
}

/// A part of a decode that answers to the [`Bounds`].
pub(super) struct Bounded<'b, T> {
    inner: T,
    bounds: &'b mut Bounds,
    /// Levels around this part.
    depth: u32,
    /// Of a visitor: it will be shown a sequence whose length came off the wire, and not one whose
    /// length is the type's.
    counted: bool,
}

impl<'b, T> Bounded<'b, T> {
    /// Puts another part in the place of this one, on the same level.
    #[inline(always)]
    fn exchange<U>(self, inner: U) -> (T, Bounded<'b, U>) {
        let Self {
            inner: present,
            bounds,
            depth,
            counted,
        } = self;
        let outer = Bounded {
            inner,
            bounds,
            depth,
            counted,
        };
        (present, outer)
    }

    /// As [`exchange`](Self::exchange), one level deeper.
    #[inline(always)]
    fn enter<U, E: Error>(mut self, inner: U, counted: bool) -> Result<(T, Bounded<'b, U>), E> {
        if self.depth == MAX_DEPTH {
            return Err(self.bounds.refuse(WireError::OutOfBounds {
                what: "nesting of a value",
                value: u64::from(MAX_DEPTH) + 1,
                max: MAX_DEPTH.into(),
            }));
        }
        self.depth += 1;
        self.counted = counted;
        Ok(self.exchange(inner))
    }
}

/// An element, a key or a value.
#[inline(always)]
const fn part<T>(inner: T, bounds: &mut Bounds, depth: u32) -> Bounded<'_, T> {
    Bounded {
        inner,
        bounds,
        depth,
        counted: false,
    }
}

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Bounded<'_, T> {
    type Value = T::Value;

    #[inline(always)]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T::Value, D::Error> {
        let (seed, deserializer) = self.exchange(deserializer);
        seed.deserialize(deserializer)
    }
}

/// Values without parts: nothing to bound.
macro_rules! plain {
    ($($method:ident)*) => {$(
        #[inline(always)]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method(visitor)
        }
    )*};
}

/// Values with parts: the visitor is bounded too, one level deeper.
macro_rules! nested {
    ($($method:ident($($name:ident: $kind:ty),*), $counted:literal;)*) => {$(
        #[inline(always)]
        fn $method<V: Visitor<'de>>(self, $($name: $kind,)* visitor: V) -> Result<V::Value, D::Error> {
            let (deserializer, visitor) = self.enter(visitor, $counted)?;
            deserializer.$method($($name,)* visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Bounded<'_, D> {
    type Error = D::Error;

    plain! {
        deserialize_any deserialize_bool deserialize_char deserialize_unit
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_str deserialize_bytes
        deserialize_identifier deserialize_ignored_any
    }

    nested! {
        deserialize_option(), false;
        deserialize_newtype_struct(name: &'static str), false;
        deserialize_seq(), true;
        deserialize_tuple(len: usize), false;
        deserialize_tuple_struct(name: &'static str, len: usize), false;
        deserialize_map(), true;
        deserialize_struct(name: &'static str, fields: &'static [&'static str]), false;
        deserialize_enum(name: &'static str, variants: &'static [&'static str]), false;
    }

    // The owning forms allocate what a length claims before they look whether it is there; the
    // borrowing forms look first. Every visitor of the one takes the other.

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_bytes(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit_struct(name, visitor)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

// Only what a value with parts can show; for the rest the trait's own methods give the right
// error, because a visitor that expects parts takes nothing else.
impl<'de, V: Visitor<'de>> Visitor<'de> for Bounded<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let (visitor, deserializer) = self.exchange(deserializer);
        visitor.visit_some(deserializer)
    }

    #[inline(always)]
    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<V::Value, D::Error> {
        let (visitor, deserializer) = self.exchange(deserializer);
        visitor.visit_newtype_struct(deserializer)
    }

    #[inline(always)]
    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        if self.counted {
            self.bounds.charge(access.size_hint())?;
        }
        let (visitor, access) = self.exchange(access);
        visitor.visit_seq(access)
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        if self.counted {
            self.bounds.charge(access.size_hint())?;
        }
        let (visitor, access) = self.exchange(access);
        visitor.visit_map(access)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let (visitor, access) = self.exchange(access);
        visitor.visit_enum(access)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    #[inline(always)]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, A::Error> {
        let Self {
            inner,
            bounds,
            depth,
            ..
        } = self;
        inner.next_element_seed(part(seed, bounds, *depth))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let Self {
            inner,
            bounds,
            depth,
            ..
        } = self;
        inner.next_key_seed(part(seed, bounds, *depth))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        let Self {
            inner,
            bounds,
            depth,
            ..
        } = self;
        inner.next_value_seed(part(seed, bounds, *depth))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 'b, A: EnumAccess<'de>> EnumAccess<'de> for Bounded<'b, A> {
    type Error = A::Error;
    type Variant = Bounded<'b, A::Variant>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), A::Error> {
        let (access, rest) = self.exchange(());
        let (value, variant) = access.variant_seed(seed)?;
        let ((), variant) = rest.exchange(variant);
        Ok((value, variant))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, A::Error> {
        let (access, seed) = self.exchange(seed);
        access.newtype_variant_seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        let (access, visitor) = self.exchange(visitor);
        access.tuple_variant(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let (access, visitor) = self.exchange(visitor);
        access.struct_variant(fields, visitor)
    }
}
