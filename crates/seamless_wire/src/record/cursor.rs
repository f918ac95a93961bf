//! Heads of the records of one section, each coded against the one before it.

use super::{
    FenceChange, Form, MAX_BASELINES, RecordHead, Version,
    fence::{read_tenure, write_tenure},
};
use crate::{
    BitReader, BitWriter, WireError,
    epoch::Tenure,
    ids::{GlobalEntity, WireId},
    tick::Tick,
};

/// The mask of all components.
const fn all_of(components: usize) -> u64 {
    match components {
        0..64 => (1 << components) - 1,
        _ => u64::MAX,
    }
}

/// What a delta is, what it is told against, how many steps it is ahead, and which components differ,
/// as in [`Form::Delta`].
pub type Against = (Version, Version, u32, u64);

/// State shared by the records of one section: what each is coded against.
///
/// Neighbours are mostly alike: changed in this tick, told against the same tick, the same
/// components, the next index. Such a record's head is four bits.
#[derive(Debug, Clone, Copy)]
pub struct RecordCursor {
    tick: Tick,
    next_index: u32,
    first: bool,
    /// Of the last delta.
    age: u32,
    steps: u32,
    mask: u64,
    /// Of the last absolute record.
    version: Version,
    global: u64,
    tenure: Tenure,
}

impl RecordCursor {
    /// Order of the Exp-Golomb code of the first index of a section.
    const FIRST: u32 = 6;

    /// Order of the Exp-Golomb code of a lag that is not zero: what was lost goes again some ticks
    /// later.
    const LAG: u32 = 3;

    /// Order of the Exp-Golomb code of a baseline's age.
    const AGE: u32 = 3;

    /// The beginning of a section of so many components, in a datagram of this tick.
    #[must_use]
    pub fn new(tick: Tick, components: usize) -> Self {
        Self {
            tick,
            next_index: 0,
            first: true,
            age: 1,
            steps: 1,
            mask: all_of(components),
            version: Version(tick.0),
            global: 0,
            tenure: Tenure::default(),
        }
    }

    /// Writes a record's head. Indices must ascend within a section.
    pub fn write(&mut self, w: &mut BitWriter, components: usize, head: &RecordHead) {
        match head.form {
            Form::Delta {
                version,
                baseline,
                steps,
                mask,
                fence,
            } => {
                let against = (version, baseline, steps, mask);
                self.write_delta(w, components, head.index, against, fence.as_ref());
            }
            Form::Absolute {
                generation,
                version,
                global,
                tenure,
            } => {
                self.write_index(w, head.index);
                w.put(0b10, 2);
                w.put_golomb(u64::from(generation), 0);
                let since = self.version.age_since(version) as i32;
                w.put_signed_golomb(since.into(), 0);
                self.version = version;
                w.put_signed_golomb(global.to_bits().wrapping_sub(self.global) as i64, 1);
                self.global = global.to_bits();
                w.put_bool(tenure != self.tenure);
                if tenure != self.tenure {
                    write_tenure(w, &tenure);
                    self.tenure = tenure;
                }
            }
        }
    }

    /// Writes the head of a [`Form::Delta`]: version, baseline, steps and mask. As
    /// [`write`](Self::write), for those who write many.
    #[inline]
    pub fn write_delta(
        &mut self,
        w: &mut BitWriter,
        components: usize,
        index: u32,
        (version, baseline, steps, mask): Against,
        fence: Option<&FenceChange>,
    ) {
        debug_assert!(version.is_newer_than(baseline), "{version:?} {baseline:?}");
        debug_assert!(steps <= MAX_BASELINES, "{steps} steps");
        let age = version.age_since(baseline);
        let usual =
            version.0 == self.tick.0 && age == self.age && steps == self.steps && fence.is_none();
        if usual && index == self.next_index && mask == self.mask && !self.first {
            // There is one; gap 0; the usual delta; the same mask.
            w.put(0b1111, 4);
            self.next_index += 1;
            return;
        }
        self.write_index(w, index);
        w.put_bool(usual);
        if !usual {
            w.put_bool(false);
            let now = version.0 == self.tick.0;
            w.put_bool(now);
            if !now {
                let lag = self.tick.0.wrapping_sub(version.0) as i32;
                w.put_signed_golomb(lag.into(), Self::LAG);
            }
            w.put_golomb(u64::from(age - 1), Self::AGE);
            w.put_golomb(u64::from(steps), 0);
            w.put_bool(fence.is_some());
            if let Some(fence) = fence {
                fence.write(w);
            }
            self.age = age;
            self.steps = steps;
        }
        w.put_bool(mask == self.mask);
        if mask != self.mask {
            let low = components.min(32) as u32;
            w.put(mask & ((1 << low) - 1), low);
            if components > 32 {
                w.put(mask >> 32, components as u32 - 32);
            }
            self.mask = mask;
        }
    }

    /// Goes on behind the record of a delta that was copied from another section, where it stood
    /// behind the same record as here. What follows a delta depends on nothing before it.
    #[inline]
    pub const fn pass_delta(&mut self, index: u32, (version, baseline, steps, mask): Against) {
        self.next_index = index + 1;
        self.first = false;
        self.age = version.age_since(baseline);
        self.steps = steps;
        self.mask = mask;
    }

    #[inline]
    fn write_index(&mut self, w: &mut BitWriter, index: u32) {
        debug_assert!(index >= self.next_index, "records must ascend");
        w.put_bool(true);
        w.put_golomb(u64::from(index - self.next_index), self.gap_order());
        self.next_index = index + 1;
        self.first = false;
    }

    const fn no_lag(lag: i64) -> WireError {
        WireError::Invalid {
            what: "lag of a version",
            value: lag as u64,
        }
    }

    /// A version by how far it lies behind another.
    fn read_version(from: u32, order: u32, r: &mut BitReader<'_>) -> Result<Version, WireError> {
        let lag = r.get_signed_golomb(order)?;
        match i32::try_from(lag) {
            Ok(lag) => Ok(Version(from.wrapping_sub(lag as u32))),
            Err(_) => Err(Self::no_lag(lag)),
        }
    }

    /// Reads the next record's head if it is a delta like the one before it in all: its index, and
    /// what stands in its [`Form::Delta`]. As [`read`](Self::read), for those who read many.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    #[inline(always)]
    pub fn read_alike(
        &mut self,
        r: &mut BitReader<'_>,
    ) -> Result<Option<(u32, Against)>, WireError> {
        if self.first || r.peek() & 0b1111 != 0b1111 || self.next_index >= WireId::MAX_INDEX {
            return Ok(None);
        }
        r.skip(4)?;
        let index = self.next_index;
        self.next_index += 1;
        let version = Version(self.tick.0);
        let baseline = Version(version.0.wrapping_sub(self.age));
        Ok(Some((index, (version, baseline, self.steps, self.mask))))
    }

    /// Whether the section ends here, without another record.
    #[must_use]
    pub fn ends_here(r: &BitReader<'_>) -> bool {
        r.peek() & 1 == 0
    }

    /// Ends the section.
    pub fn write_end(w: &mut BitWriter) {
        w.put_bool(false);
    }

    /// Reads the next record's head, or `None` at the section's end.
    ///
    /// # Errors
    /// [`WireError`] for heads that [`write`](Self::write) cannot have made.
    pub fn read(
        &mut self,
        r: &mut BitReader<'_>,
        components: usize,
    ) -> Result<Option<RecordHead>, WireError> {
        if !r.get_bool()? {
            return Ok(None);
        }
        let gap = r.get_bounded(self.gap_order(), u64::from(WireId::MAX_INDEX), "index gap")?;
        let index = u64::from(self.next_index) + gap;
        if index >= u64::from(WireId::MAX_INDEX) {
            return Err(WireError::OutOfBounds {
                what: "entity index",
                value: index,
                max: WireId::MAX_INDEX.into(),
            });
        }
        let index = index as u32;
        self.next_index = index + 1;
        self.first = false;
        let usual = r.get_bool()?;
        if !usual && r.get_bool()? {
            return self.read_absolute(r, index).map(Some);
        }
        let (version, fence) = if usual {
            (Version(self.tick.0), None)
        } else {
            let now = Version(self.tick.0);
            let is_now = r.get_bool()?;
            let version = match is_now {
                true => now,
                false => Self::read_version(now.0, Self::LAG, r)?,
            };
            if !is_now && version == now {
                return Err(Self::no_lag(0));
            }
            let max = i32::MAX as u64 - 1;
            self.age = r.get_bounded(Self::AGE, max, "age of a baseline")? as u32 + 1;
            self.steps = r.get_bounded(0, MAX_BASELINES.into(), "steps")? as u32;
            let fence = if r.get_bool()? {
                Some(FenceChange::read(r)?)
            } else {
                None
            };
            (version, fence)
        };
        if !r.get_bool()? {
            let mut mask = r.get(components.min(32) as u32)?;
            if components > 32 {
                mask |= r.get(components as u32 - 32)? << 32;
            }
            self.mask = mask;
        }
        let form = self.delta(version, fence);
        Ok(Some(RecordHead { index, form }))
    }

    /// What is told against a baseline as old as the last one, and as much of it.
    #[inline]
    const fn delta(&self, version: Version, fence: Option<FenceChange>) -> Form {
        Form::Delta {
            version,
            baseline: Version(version.0.wrapping_sub(self.age)),
            steps: self.steps,
            mask: self.mask,
            fence,
        }
    }

    fn read_absolute(
        &mut self,
        r: &mut BitReader<'_>,
        index: u32,
    ) -> Result<RecordHead, WireError> {
        let generation = r.get_bounded(0, u32::MAX.into(), "generation")? as u32;
        let version = Self::read_version(self.version.0, 0, r)?;
        self.version = version;
        let bits = self.global.wrapping_add(r.get_signed_golomb(1)? as u64);
        let global = GlobalEntity::from_bits(bits).ok_or(WireError::Invalid {
            what: "entity name",
            value: bits,
        })?;
        self.global = bits;
        if r.get_bool()? {
            self.tenure = read_tenure(r)?;
        }
        let form = Form::Absolute {
            generation,
            version,
            global,
            tenure: self.tenure,
        };
        Ok(RecordHead { index, form })
    }

    const fn gap_order(&self) -> u32 {
        if self.first { Self::FIRST } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Epoch, Holder, PeerId, TenureEnd, Term, WriteMask};

    fn tenure() -> impl Strategy<Value = Tenure> {
        let loan = prop_oneof![Just((0, 0)), (any::<u64>(), any::<u32>())];
        let rest = (any::<bool>(), 0u64..6, 0usize..8, loan);
        (0u64..1 << 40, 0u32..9, 0u32..9, rest).prop_map(
            |(term, seq, back, (delegated, holder, ended, (withheld, lease)))| {
                let epoch = Epoch {
                    term: Term(term),
                    seq: seq + back,
                };
                let since = Epoch {
                    term: Term(term / 2),
                    seq,
                };
                let holder = match holder {
                    0 => Holder::Nobody,
                    1 => Holder::Host,
                    n => Holder::Peer(PeerId(u64::MAX >> (n * 13 % 64))),
                };
                let since = if back == 0 { epoch } else { since.min(epoch) };
                Tenure {
                    epoch,
                    since,
                    holder,
                    delegated,
                    writes: WriteMask::withholding(withheld),
                    lease,
                    ended: TenureEnd::ALL[ended],
                }
            },
        )
    }

    /// A fence, and one that it may have become.
    fn change() -> impl Strategy<Value = FenceChange> {
        let transfer = (1u32..9, tenure()).prop_map(|(times, tenure)| FenceChange::Transfer {
            times,
            holder: tenure.holder,
            ended: tenure.ended,
        });
        prop_oneof![transfer, tenure().prop_map(FenceChange::Whole)]
    }

    fn form(components: usize) -> impl Strategy<Value = Form> {
        let bits = (1u64 << (components - 1) << 1).wrapping_sub(1);
        let fence = || proptest::option::of(change());
        prop_oneof![
            (990u32..1010, 1u32..4, 0u32..=2, any::<u64>(), fence()).prop_map(
                move |(version, age, steps, mask, fence)| {
                    Form::Delta {
                        version: Version(version),
                        baseline: Version(version - age),
                        steps,
                        mask: mask & bits,
                        fence,
                    }
                }
            ),
            (
                any::<u32>(),
                1u32..1 << 31,
                0u32..=32,
                any::<bool>(),
                fence()
            )
                .prop_map(move |(version, age, steps, all, fence)| {
                    Form::Delta {
                        version: Version(version),
                        baseline: Version(version.wrapping_sub(age)),
                        steps,
                        mask: if all { bits } else { 1 },
                        fence,
                    }
                }),
            (any::<u32>(), any::<u32>(), 1u64 << 40..=u64::MAX, tenure()).prop_map(
                |(generation, version, g, tenure)| {
                    let global = GlobalEntity::from_bits(g | 1).unwrap();
                    Form::Absolute {
                        generation,
                        version: Version(version),
                        global,
                        tenure,
                    }
                }
            ),
        ]
    }

    fn heads(components: usize) -> impl Strategy<Value = Vec<RecordHead>> {
        let gap = prop_oneof![Just(1u32), 1u32..5000];
        proptest::collection::vec((gap, form(components)), 0..20).prop_map(|list| {
            let mut index = 0;
            list.into_iter()
                .map(|(gap, form)| {
                    index += gap;
                    RecordHead { index, form }
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn heads_survive((components, heads) in (1usize..=64).prop_flat_map(|n| (Just(n), heads(n)))) {
            let mut w = BitWriter::new();
            let mut cursor = RecordCursor::new(Tick(1000), components);
            for head in &heads {
                cursor.write(&mut w, components, head);
            }
            RecordCursor::write_end(&mut w);
            let bytes = w.finish().to_vec();
            let mut r = BitReader::new(&bytes);
            let mut cursor = RecordCursor::new(Tick(1000), components);
            for head in &heads {
                let (mut there, mut soon) = (r.clone(), cursor);
                prop_assert_eq!(cursor.read(&mut r, components).unwrap(), Some(*head));
                if let Some((index, against)) = soon.read_alike(&mut there).unwrap() {
                    let (version, baseline, steps, mask) = against;
                    let form = Form::Delta { version, baseline, steps, mask, fence: None };
                    prop_assert_eq!(RecordHead { index, form }, *head);
                    prop_assert_eq!(there.position(), r.position());
                    prop_assert_eq!(format!("{soon:?}"), format!("{cursor:?}"));
                }
            }
            let (mut there, mut soon) = (r.clone(), cursor);
            prop_assert_eq!(soon.read_alike(&mut there), Ok(None));
            prop_assert_eq!(cursor.read(&mut r, components), Ok(None));
            prop_assert_eq!(r.expect_end(), Ok(()));
        }

        #[test]
        fn a_fence_becomes_what_it_became(before in tenure(), after in tenure(), times in 0u32..5) {
            let change = FenceChange::between(&before, &after);
            prop_assert_eq!(change.apply(&before), Ok(after));
            let mut later = before;
            for _ in 0..times {
                later.transfer(after.holder, after.ended);
            }
            let change = FenceChange::between(&before, &later);
            prop_assert_eq!(change.apply(&before), Ok(later));
            prop_assert_eq!(matches!(change, FenceChange::Transfer { .. }), times > 0);
        }
    }

    #[test]
    fn an_epoch_that_cannot_be_is_refused() {
        let mut last = Tenure::plain(Term(1));
        last.epoch.seq = u32::MAX - 1;
        let change = |times| FenceChange::Transfer {
            times,
            holder: Holder::Nobody,
            ended: TenureEnd::Released,
        };
        assert!(change(1).apply(&last).is_ok());
        for times in [0, 2, u32::MAX] {
            let refused = change(times).apply(&last);
            assert!(matches!(refused, Err(WireError::OutOfBounds { .. })));
        }
    }

    #[test]
    fn a_record_like_its_neighbour_takes_four_bits() {
        let mut w = BitWriter::new();
        let mut cursor = RecordCursor::new(Tick(70), 3);
        let mut last = 0;
        for index in 40..44 {
            let form = Form::Delta {
                version: Version(70),
                baseline: Version(68),
                steps: 2,
                mask: 3,
                fence: None,
            };
            let head = RecordHead { index, form };
            last = w.bit_len();
            cursor.write(&mut w, 3, &head);
        }
        assert_eq!(w.bit_len() - last, 4);
    }
}
