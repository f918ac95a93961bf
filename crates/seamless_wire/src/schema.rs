//! What two peers must agree on before the first row.

use serde::{Deserialize, Serialize};

use crate::codec;

/// Most components and messages a peer may describe; the reader's bound.
pub const MAX_DESCRIPTORS: usize = 4096;

/// Longest type path, in bytes.
pub const MAX_PATH: usize = 512;

/// One registered component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentDescriptor {
    /// SipHash of the path, see [`crate::hash`].
    pub id: u64,
    /// Full type path.
    pub path: String,
    /// How its values are coded, with every parameter that changes the bits, in words:
    /// `serde`, `transform 1/512 m 10 bit`.
    pub codec: String,
    /// Whether only the host writes it, also while the entity is lent.
    pub host_only: bool,
}

/// One registered message or input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageDescriptor {
    /// SipHash of the path.
    pub id: u64,
    /// Full type path.
    pub path: String,
    /// Which way and how it travels, in words.
    pub kind: String,
}

/// Everything registered, in ascending order of id: the index into it is what travels.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Schema {
    /// Replicated components.
    pub components: Vec<ComponentDescriptor>,
    /// Messages.
    pub messages: Vec<MessageDescriptor>,
    /// The player input, if there is one.
    pub input: Option<MessageDescriptor>,
}

impl Schema {
    /// A digest of the whole. Equal schemas have equal digests on every machine.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let bytes = codec::to_vec(self).unwrap_or_default();
        let mut hasher = siphasher::sip::SipHasher24::new_with_keys(0x7363_6865_6d61, 1);
        std::hash::Hasher::write(&mut hasher, &bytes);
        std::hash::Hasher::finish(&hasher)
    }

    /// What differs, in words for a log or a dialog. Empty exactly if the peers can talk.
    #[must_use]
    pub fn differences(&self, peer: &Self) -> Vec<String> {
        let mut out = Vec::new();
        compare(
            &mut out,
            &self.components,
            &peer.components,
            |d| (d.id, &d.path),
            |d| {
                format!(
                    "{}{}",
                    d.codec,
                    if d.host_only { ", host only" } else { "" }
                )
            },
        );
        compare(
            &mut out,
            &self.messages,
            &peer.messages,
            |d| (d.id, &d.path),
            |d| d.kind.clone(),
        );
        compare(
            &mut out,
            self.input.as_slice(),
            peer.input.as_slice(),
            |d| (d.id, &d.path),
            |d| d.kind.clone(),
        );
        out
    }

    /// Whether a received schema keeps to the bounds of this module.
    #[must_use]
    pub fn is_sane(&self) -> bool {
        let messages = self.messages.iter().chain(&self.input);
        self.components.len() <= MAX_DESCRIPTORS
            && self.messages.len() <= MAX_DESCRIPTORS
            && self
                .components
                .iter()
                .all(|c| c.path.len() <= MAX_PATH && c.codec.len() <= MAX_PATH)
            && messages
                .into_iter()
                .all(|m| m.path.len() <= MAX_PATH && m.kind.len() <= MAX_PATH)
    }
}

fn compare<D>(
    out: &mut Vec<String>,
    ours: &[D],
    theirs: &[D],
    name: impl Fn(&D) -> (u64, &String),
    terms: impl Fn(&D) -> String,
) {
    for our in ours {
        let (id, path) = name(our);
        match theirs.iter().find(|d| name(d).0 == id) {
            None => out.push(format!("peer lacks \"{path}\" ({id:#018x})")),
            Some(their) if terms(our) != terms(their) => out.push(format!(
                "\"{path}\" is \"{}\" here and \"{}\" there",
                terms(our),
                terms(their)
            )),
            Some(_) => {}
        }
    }
    for their in theirs {
        let (id, path) = name(their);
        if !ours.iter().any(|d| name(d).0 == id) {
            out.push(format!("peer has \"{path}\" ({id:#018x}), which we lack"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(path: &str, codec: &str) -> ComponentDescriptor {
        ComponentDescriptor {
            id: crate::hash::type_id(crate::hash::Namespace::Component, path),
            path: path.into(),
            codec: codec.into(),
            host_only: false,
        }
    }

    #[test]
    fn a_component_on_one_side_only_is_named() {
        let ours = Schema {
            components: vec![component("game::Health", "serde")],
            ..Schema::default()
        };
        let theirs = Schema::default();
        assert!(ours.differences(&theirs)[0].contains("peer lacks \"game::Health\""));
        assert!(theirs.differences(&ours)[0].contains("game::Health"));
        assert!(ours.differences(&ours).is_empty());
    }

    #[test]
    fn another_precision_is_a_difference() {
        let ours = Schema {
            components: vec![component("T", "1/512 m")],
            ..Schema::default()
        };
        let theirs = Schema {
            components: vec![component("T", "1/256 m")],
            ..Schema::default()
        };
        assert_eq!(
            ours.differences(&theirs),
            ["\"T\" is \"1/512 m\" here and \"1/256 m\" there"]
        );
        assert_ne!(ours.digest(), theirs.digest());
    }
}
