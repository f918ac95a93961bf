//! Values and their parts, as serde asks for them.
//!
//! bincode writes them. It does not read them: what strangers send never meets code that nobody
//! maintains, and the bounds on elements and nesting stand where a value is read, not around it.
//! Most values are a few floats in structs; for those a decode is a look at the bytes' length and a
//! move for each.

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer,
    MapAccess, SeqAccess, VariantAccess, Visitor, value::U32Deserializer,
};

use super::{
    MAX_DEPTH,
    reader::{Failure, Reader, signed},
};
use crate::WireError;

/// Reads a value. What follows it is left.
#[inline(always)]
pub(super) fn read<T: DeserializeOwned>(reader: &mut Reader<'_>) -> Result<T, WireError> {
    let value = T::deserialize(Part {
        reader: &mut *reader,
        depth: 0,
    });
    match reader.broken() {
        Some(broken) => Err(*broken),
        None => Ok(value?),
    }
}

/// A part of a value, so many levels deep.
struct Part<'r, 'de> {
    reader: &'r mut Reader<'de>,
    depth: u32,
}

impl<'r, 'de> Part<'r, 'de> {
    /// The same place, one level deeper.
    #[inline(always)]
    fn enter(self) -> Result<Self, Failure> {
        if self.depth == MAX_DEPTH {
            return Err(self.reader.refuse(WireError::OutOfBounds {
                what: "nesting of a value",
                value: u64::from(MAX_DEPTH) + 1,
                max: MAX_DEPTH.into(),
            }));
        }
        Ok(Self {
            depth: self.depth + 1,
            ..self
        })
    }

    /// So many parts, one after the other, on this level.
    #[inline(always)]
    const fn parts(self, left: usize) -> Parts<'r, 'de> {
        Parts {
            reader: self.reader,
            depth: self.depth,
            left,
        }
    }
}

/// Integers and floats: how each is read, and which visitor takes it.
macro_rules! numbers {
    ($($method:ident $visit:ident |$reader:ident| $read:expr;)*) => {$(
        #[inline(always)]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            let $reader = self.reader;
            visitor.$visit($read)
        }
    )*};
}

impl<'de> Deserializer<'de> for Part<'_, 'de> {
    type Error = Failure;

    numbers! {
        deserialize_bool visit_bool |reader| reader.boolean("bool")?;
        deserialize_u8 visit_u8 |reader| reader.byte()?;
        deserialize_u16 visit_u16 |reader| reader.integer(2)? as u16;
        deserialize_u32 visit_u32 |reader| reader.integer(4)? as u32;
        deserialize_u64 visit_u64 |reader| reader.integer(8)?;
        deserialize_u128 visit_u128 |reader| reader.wide_integer()?;
        deserialize_i8 visit_i8 |reader| reader.byte()? as i8;
        deserialize_i16 visit_i16 |reader| signed(reader.integer(2)?) as i16;
        deserialize_i32 visit_i32 |reader| signed(reader.integer(4)?) as i32;
        deserialize_i64 visit_i64 |reader| signed(reader.integer(8)?);
        deserialize_f32 visit_f32 |reader| f32::from_le_bytes(reader.array()?);
        deserialize_f64 visit_f64 |reader| f64::from_le_bytes(reader.array()?);
        deserialize_char visit_char |reader| reader.letter()?;
        deserialize_str visit_borrowed_str |reader| reader.text()?;
        deserialize_string visit_borrowed_str |reader| reader.text()?;
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let n = self.reader.wide_integer()?;
        visitor.visit_i128((n >> 1) as i128 ^ -((n & 1) as i128))
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let len = self.reader.len()?;
        visitor.visit_borrowed_bytes(self.reader.take(len)?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let inner = self.enter()?;
        match inner.reader.boolean("option")? {
            true => visitor.visit_some(inner),
            false => visitor.visit_none(),
        }
    }

    #[inline(always)]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }

    #[inline(always)]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }

    #[inline(always)]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self.enter()?)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let inner = self.enter()?;
        let count = inner.reader.count()?;
        visitor.visit_seq(inner.parts(count))
    }

    #[inline(always)]
    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_seq(self.enter()?.parts(len))
    }

    #[inline(always)]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let inner = self.enter()?;
        let count = inner.reader.count()?;
        visitor.visit_map(inner.parts(count))
    }

    #[inline(always)]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_enum(self.enter()?)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Failure> {
        Err(Failure::custom("the format does not say what a value is"))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_any(visitor)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

impl<'r, 'de> EnumAccess<'de> for Part<'r, 'de> {
    type Error = Failure;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Failure> {
        let index = self.reader.integer(4)? as u32;
        let index: U32Deserializer<Failure> = index.into_deserializer();
        Ok((seed.deserialize(index)?, self))
    }
}

impl<'de> VariantAccess<'de> for Part<'_, 'de> {
    type Error = Failure;

    fn unit_variant(self) -> Result<(), Failure> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Failure> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_seq(self.parts(len))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_seq(self.parts(fields.len()))
    }
}

/// Parts of one value, one after the other.
struct Parts<'r, 'de> {
    reader: &'r mut Reader<'de>,
    depth: u32,
    left: usize,
}

impl<'de> Parts<'_, 'de> {
    #[inline(always)]
    const fn next(&mut self) -> Part<'_, 'de> {
        Part {
            reader: &mut *self.reader,
            depth: self.depth,
        }
    }
}

impl<'de> SeqAccess<'de> for Parts<'_, 'de> {
    type Error = Failure;

    #[inline(always)]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failure> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(self.next()).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for Parts<'_, 'de> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Failure> {
        self.next_element_seed(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        seed.deserialize(self.next())
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}
