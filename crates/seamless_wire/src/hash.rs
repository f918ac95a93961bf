//! Stable ids for registered types.
//!
//! SipHash-2-4 of the type's full path under a fixed key: the same in every build, on every
//! machine, in whatever order things are registered. A collision (one in 2^64 per pair) is an
//! error at start-up, never a mix-up at run time.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

/// Names the purpose, so that a component and a message of one type get different ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Namespace {
    /// A replicated component.
    Component,
    /// A message or event.
    Message,
    /// A kind of player input.
    Input,
}

/// The id of the type with this full path.
#[must_use]
pub fn type_id(namespace: Namespace, type_path: &str) -> u64 {
    let key = match namespace {
        Namespace::Component => 1,
        Namespace::Message => 2,
        Namespace::Input => 3,
    };
    let mut hasher = SipHasher24::new_with_keys(0x7365_616d_6c65_7373, key);
    hasher.write(type_path.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_same_in_every_build() {
        assert_eq!(
            type_id(Namespace::Component, "game::Health"),
            0xe670_7f75_5d6a_c002
        );
    }

    #[test]
    fn a_component_and_a_message_of_one_type_differ() {
        assert_ne!(
            type_id(Namespace::Component, "a::B"),
            type_id(Namespace::Message, "a::B")
        );
    }
}
