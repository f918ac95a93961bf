//! What two peers must agree on before the first row.

use serde::{Deserialize, Serialize};

use crate::{codec, frame::MAX_CONTROL_FRAME};

/// Most components and messages a peer may describe; the reader's bound.
pub const MAX_DESCRIPTORS: usize = 4096;

/// Longest type path, in bytes.
pub const MAX_PATH: usize = 512;

/// Most bytes of a schema: a hello with it is one frame of the control channel.
pub const MAX_SCHEMA_BYTES: usize = MAX_CONTROL_FRAME - HELLO_HEAD;

/// Most bytes of a hello besides its schema.
const HELLO_HEAD: usize = 40;

/// Most differences that are put into words. Each is less than 1,700 bytes, so a refusal with all
/// of them is one frame.
pub const MAX_DIFFERENCES: usize = 32;

/// Why a schema is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// More descriptors of a kind than [`MAX_DESCRIPTORS`].
    #[error("{count} {what}, at most {MAX_DESCRIPTORS} can be described")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
    },
    /// A text is longer than [`MAX_PATH`].
    #[error("\"{path}\" is described with {bytes} bytes, at most {MAX_PATH} are allowed")]
    TooLong {
        /// The beginning of the type's path.
        path: String,
        /// Length of the longest text.
        bytes: usize,
    },
    /// The ids of a list do not ascend, or one stands there twice.
    #[error("the {what} do not ascend at {id:#018x}")]
    NotAscending {
        /// Which list.
        what: &'static str,
        /// The id that is not above the one before it.
        id: u64,
    },
    /// It does not fit one hello.
    #[error("the schema takes {bytes} bytes, a hello has room for {MAX_SCHEMA_BYTES}")]
    TooLarge {
        /// How many it takes; one more than [`codec::MAX_VALUE`] stands for any number above.
        bytes: usize,
    },
}

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

    /// What differs, in words for a log or a dialog: the first [`MAX_DIFFERENCES`], and how many
    /// more there are. Empty exactly if the peers can talk. Both schemas must have passed
    /// [`check`](Self::check). Takes time in proportion to their lengths.
    #[must_use]
    pub fn differences(&self, peer: &Self) -> Vec<String> {
        let mut out = Differences::default();
        out.compare(
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
        out.compare(
            &self.messages,
            &peer.messages,
            |d| (d.id, &d.path),
            |d| d.kind.clone(),
        );
        out.compare(
            self.input.as_slice(),
            peer.input.as_slice(),
            |d| (d.id, &d.path),
            |d| d.kind.clone(),
        );
        out.finish()
    }

    /// Whether the schema keeps to the bounds of this module and ascends by id, so that an index
    /// into it means the same type on both ends.
    ///
    /// # Errors
    /// [`SchemaError`] for the first thing that is not so.
    pub fn check(&self) -> Result<(), SchemaError> {
        check_ids("components", self.components.iter().map(|c| c.id))?;
        check_ids("messages", self.messages.iter().map(|m| m.id))?;
        let components = self.components.iter().map(|c| (&c.path, &c.codec));
        let messages = self.messages.iter().chain(&self.input);
        for (path, words) in components.chain(messages.map(|m| (&m.path, &m.kind))) {
            let bytes = path.len().max(words.len());
            if bytes > MAX_PATH {
                let path = path.chars().take(80).collect();
                return Err(SchemaError::TooLong { path, bytes });
            }
        }
        let bytes = match codec::to_vec(self) {
            Ok(bytes) => bytes.len(),
            // Larger than any value may be.
            Err(_) => codec::MAX_VALUE + 1,
        };
        if bytes > MAX_SCHEMA_BYTES {
            return Err(SchemaError::TooLarge { bytes });
        }
        Ok(())
    }
}

fn check_ids(
    what: &'static str,
    ids: impl ExactSizeIterator<Item = u64>,
) -> Result<(), SchemaError> {
    let count = ids.len();
    if count > MAX_DESCRIPTORS {
        return Err(SchemaError::TooMany { what, count });
    }
    let mut last = None;
    for id in ids {
        if last.is_some_and(|last| id <= last) {
            return Err(SchemaError::NotAscending { what, id });
        }
        last = Some(id);
    }
    Ok(())
}

/// Collects differences up to the bound and counts the rest.
#[derive(Default)]
struct Differences {
    lines: Vec<String>,
    more: usize,
}

impl Differences {
    fn note(&mut self, line: impl FnOnce() -> String) {
        if self.lines.len() < MAX_DIFFERENCES {
            self.lines.push(line());
        } else {
            self.more += 1;
        }
    }

    /// Walks two lists that ascend by id side by side.
    fn compare<D>(
        &mut self,
        ours: &[D],
        theirs: &[D],
        name: impl Fn(&D) -> (u64, &String),
        terms: impl Fn(&D) -> String,
    ) {
        let (mut ours, mut theirs) = (ours.iter().peekable(), theirs.iter().peekable());
        loop {
            let id = |d: Option<&&D>| d.map(|d| name(d).0);
            let (our, their) = (id(ours.peek()), id(theirs.peek()));
            let first = match (our, their) {
                (None, None) => return,
                (Some(id), None) | (None, Some(id)) => id,
                (Some(our), Some(their)) => our.min(their),
            };
            let our = ours.next_if(|d| name(d).0 == first);
            let their = theirs.next_if(|d| name(d).0 == first);
            match (our, their) {
                (Some(our), Some(their)) => {
                    let (here, there) = (terms(our), terms(their));
                    if here != there {
                        let path = name(our).1;
                        self.note(|| {
                            format!("\"{path}\" is \"{here}\" here and \"{there}\" there")
                        });
                    }
                }
                (Some(our), None) => {
                    let path = name(our).1;
                    self.note(|| format!("peer lacks \"{path}\" ({first:#018x})"));
                }
                (None, Some(their)) => {
                    let path = name(their).1;
                    self.note(|| format!("peer has \"{path}\" ({first:#018x}), which we lack"));
                }
                (None, None) => return,
            }
        }
    }

    fn finish(mut self) -> Vec<String> {
        if self.more > 0 {
            self.lines.push(format!("and {} more", self.more));
        }
        self.lines
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

    fn of(paths: impl IntoIterator<Item = String>) -> Schema {
        let mut components: Vec<_> = paths
            .into_iter()
            .map(|path| component(&path, "serde"))
            .collect();
        components.sort_by_key(|component| component.id);
        Schema {
            components,
            ..Schema::default()
        }
    }

    #[test]
    fn a_schema_that_does_not_ascend_is_none() {
        let good = of(["A", "B", "C"].map(String::from));
        assert_eq!(good.check(), Ok(()));
        let mut swapped = good.clone();
        swapped.components.swap(0, 1);
        let mut twice = good.clone();
        twice.components.insert(1, good.components[0].clone());
        for bad in [swapped, twice] {
            assert!(
                matches!(bad.check(), Err(SchemaError::NotAscending { .. })),
                "{bad:?}"
            );
        }
        let message = |id| MessageDescriptor {
            id,
            path: "M".into(),
            kind: "k".into(),
        };
        let messages = Schema {
            messages: vec![message(2), message(2)],
            ..Schema::default()
        };
        assert_eq!(
            messages.check(),
            Err(SchemaError::NotAscending {
                what: "messages",
                id: 2
            })
        );
    }

    #[test]
    fn a_schema_past_its_bounds_is_none() {
        let many = of((0..=MAX_DESCRIPTORS).map(|n| n.to_string()));
        assert!(matches!(many.check(), Err(SchemaError::TooMany { .. })));
        let long = of([String::from("x").repeat(MAX_PATH + 1)]);
        assert!(matches!(long.check(), Err(SchemaError::TooLong { .. })));
        let large = of((0..200).map(|n| format!("{n:0>400}")));
        assert!(matches!(large.check(), Err(SchemaError::TooLarge { .. })));
        assert_eq!(of((0..150).map(|n| format!("{n:0>400}"))).check(), Ok(()));
    }

    #[test]
    fn of_many_differences_the_first_are_named_and_the_rest_is_counted() {
        let named = |words: &str| {
            let mut schema = of((0..100).map(|n| format!("{n:0>500}")));
            for component in &mut schema.components {
                component.codec = words.repeat(MAX_PATH);
                component.host_only = words == "x";
            }
            schema
        };
        let differences = named("x").differences(&named("y"));
        assert_eq!(differences.len(), MAX_DIFFERENCES + 1);
        assert_eq!(differences[MAX_DIFFERENCES], "and 68 more");
        let refusal = crate::frame::Frame::Refused(crate::frame::Refusal::Schema(differences));
        let bytes = codec::to_vec(&refusal).expect("it encodes").len();
        assert!(bytes <= MAX_CONTROL_FRAME, "{bytes}");
    }

    #[test]
    fn large_schemas_are_compared_in_one_walk() {
        let all = of((0..4000).map(|n| n.to_string()));
        let half = of((0..4000).filter(|n| n % 2 == 0).map(|n| n.to_string()));
        let lacks = all.differences(&half);
        assert_eq!(
            lacks[MAX_DIFFERENCES],
            format!("and {} more", 2000 - MAX_DIFFERENCES)
        );
        assert!(
            lacks[..MAX_DIFFERENCES]
                .iter()
                .all(|line| line.starts_with("peer lacks"))
        );
        let has = half.differences(&all);
        assert!(
            has[..MAX_DIFFERENCES]
                .iter()
                .all(|line| line.starts_with("peer has"))
        );
    }
}
