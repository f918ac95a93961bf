//! What peers are known to have of a slot, for up to 64 links together.
//!
//! The versions that peers acknowledged stand side by side, each with a bit for every link whose peer
//! has it. So what sixteen links have of a slot lies on one line of the cache, links that have the same
//! fall together by themselves, and an acknowledgement sets a bit.

use seamless_wire::record::Version;

use crate::prefetch::prefetch;

/// A bit for each link of a block.
pub(super) type LinkBits = u64;

/// Links of one block.
pub(super) const LINKS: usize = LinkBits::BITS as usize;

/// One slot, the versions in descending order. The first that no link has ends the list.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line<const WIDTH: usize> {
    /// Links that see the slot and are told it in the usual way.
    usual: LinkBits,
    /// Links that see it and of which its sender has more to say.
    odd: LinkBits,
    versions: [Version; WIDTH],
    links: [LinkBits; WIDTH],
}

const _: () = assert!(size_of::<Line<4>>() == 64, "mostly a slot is one line");

impl<const WIDTH: usize> Default for Line<WIDTH> {
    fn default() -> Self {
        Self {
            usual: 0,
            odd: 0,
            versions: [Version::default(); WIDTH],
            links: [0; WIDTH],
        }
    }
}

/// There is no room for another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom;

impl<const WIDTH: usize> Line<WIDTH> {
    const fn view(&self) -> View<'_> {
        View {
            usual: self.usual,
            odd: self.odd,
            versions: &self.versions,
            links: &self.links,
        }
    }

    /// These links' peers have this version. Gives who has a newer one, of them and others.
    #[inline]
    fn insert(&mut self, version: Version, links: LinkBits) -> Result<LinkBits, NoRoom> {
        let mut newer = 0;
        for at in 0..WIDTH {
            let there = self.links[at];
            if there != 0 && self.versions[at] == version {
                self.links[at] |= links;
                return Ok(newer);
            }
            if there == 0 || version.is_newer_than(self.versions[at]) {
                return self.insert_at(at, version, links).map(|()| newer);
            }
            newer |= there;
        }
        // All of them are newer.
        self.sweep();
        let free = self.links.iter().position(|links| *links == 0);
        let free = free.ok_or(NoRoom)?;
        self.insert_at(free, version, links).map(|()| newer)
    }

    /// As the entry `at`, if the last one is free or can be freed.
    #[inline(never)]
    fn insert_at(&mut self, at: usize, version: Version, links: LinkBits) -> Result<(), NoRoom> {
        if self.links[WIDTH - 1] != 0 {
            self.sweep();
            if self.links[WIDTH - 1] != 0 {
                return Err(NoRoom);
            }
            // Places may be others now; there is room.
            return self.insert(version, links).map(|_| ());
        }
        self.versions.copy_within(at..WIDTH - 1, at + 1);
        self.links.copy_within(at..WIDTH - 1, at + 1);
        (self.versions[at], self.links[at]) = (version, links);
        self.sweep();
        Ok(())
    }

    /// Forgets of each link all but its newest two versions: records are told against those.
    fn sweep(&mut self) {
        let (mut once, mut twice) = (0, 0);
        let mut to = 0;
        for from in 0..WIDTH {
            let links = self.links[from] & !twice;
            if self.links[from] == 0 {
                break;
            }
            self.links[from] = 0;
            if links != 0 {
                (self.versions[to], self.links[to]) = (self.versions[from], links);
                to += 1;
            }
            twice |= once & links;
            once |= links;
        }
    }

    /// These links' peers have nothing that counts.
    fn forget(&mut self, links: LinkBits) {
        let mut to = 0;
        for from in 0..WIDTH {
            let left = self.links[from] & !links;
            if self.links[from] == 0 {
                break;
            }
            self.links[from] = 0;
            if left != 0 {
                (self.versions[to], self.links[to]) = (self.versions[from], left);
                to += 1;
            }
        }
    }

    /// Datagrams of these links arrived that had this version in it: those that see the slot have it
    /// now. Gives those of them of which their senders have more to say, and who has a newer version.
    #[inline]
    pub(super) fn arrived(
        &mut self,
        version: Version,
        links: LinkBits,
    ) -> Result<(LinkBits, LinkBits), NoRoom> {
        let links = links & (self.usual | self.odd);
        if links == 0 {
            return Ok((0, 0));
        }
        let newer = self.insert(version, links)?;
        Ok((links & self.odd, newer))
    }

    fn widen<const TO: usize>(&self) -> Line<TO> {
        let mut line = Line::default();
        (line.usual, line.odd) = (self.usual, self.odd);
        line.versions[..WIDTH].copy_from_slice(&self.versions);
        line.links[..WIDTH].copy_from_slice(&self.links);
        line
    }
}

/// One slot.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) usual: LinkBits,
    pub(super) odd: LinkBits,
    versions: &'a [Version],
    links: &'a [LinkBits],
}

impl View<'_> {
    /// A slot that nobody sees.
    const NONE: Self = Self {
        usual: 0,
        odd: 0,
        versions: &[],
        links: &[],
    };

    /// Whether the link's peer has this version. An old one may have been forgotten.
    #[inline]
    fn holds(&self, link: LinkBits, version: Version) -> bool {
        let mut entries = self.versions.iter().zip(self.links);
        entries.any(|(there, links)| *there == version && links & link != 0)
    }

    /// The newest version of each link that sees the slot, once each.
    #[inline]
    pub(super) fn each_newest(&self, mut visit: impl FnMut(Version)) {
        let mut rest = self.usual;
        for (version, links) in self.versions.iter().zip(self.links) {
            if rest == 0 || *links == 0 {
                break;
            }
            if rest & links != 0 {
                visit(*version);
            }
            rest &= !links;
        }
    }

    /// As [`groups`](Self::groups), if there is one group only.
    #[inline]
    pub(super) fn all_have(&self, of: LinkBits) -> Option<(Option<Version>, Option<Version>)> {
        for (at, &links) in self.links.iter().enumerate() {
            if links == 0 {
                break;
            }
            if links & of == 0 {
                continue;
            }
            let before = self.links.get(at + 1).map_or(0, |links| links & of);
            let before = match before {
                0 => None,
                before if before == of => Some(self.versions[at + 1]),
                _ => return None,
            };
            return (links & of == of).then_some((Some(self.versions[at]), before));
        }
        Some((None, None))
    }

    /// What these links have: each group of them that has the same, with its newest version and
    /// whether it has the one before that stands beside it. What is left has nothing.
    ///
    /// A step for each version that is left of the slot.
    #[inline]
    pub(super) fn groups(
        &self,
        of: LinkBits,
        mut visit: impl FnMut(LinkBits, Option<Version>, Option<Version>),
    ) {
        let mut rest = of;
        for (at, &links) in self.links.iter().enumerate() {
            if rest == 0 || links == 0 {
                break;
            }
            let group = rest & links;
            if group == 0 {
                continue;
            }
            rest &= !group;
            let newest = Some(self.versions[at]);
            let before = self.links.get(at + 1).map_or(0, |links| group & links);
            if before != 0 {
                visit(before, newest, Some(self.versions[at + 1]));
            }
            if group & !before != 0 {
                visit(group & !before, newest, None);
            }
        }
        if rest != 0 {
            visit(rest, None, None);
        }
    }
}

/// All slots.
#[derive(Debug)]
enum Lines {
    Four(Vec<Line<4>>),
    Eight(Vec<Line<8>>),
    Sixteen(Vec<Line<16>>),
    Most(Vec<Line<32>>),
}

/// Does the same whatever the width.
macro_rules! with_lines {
    ($which:expr, $lines:ident => $then:expr) => {
        match $which {
            Lines::Four($lines) => $then,
            Lines::Eight($lines) => $then,
            Lines::Sixteen($lines) => $then,
            Lines::Most($lines) => $then,
        }
    };
}

/// What up to [`LINKS`] links have of all slots. Mostly 64 bytes for each slot; 448 when links need
/// up to 32 different versions of one, which is when they are far away, or far apart.
#[derive(Debug)]
pub(super) struct Block(Lines);

impl Default for Block {
    fn default() -> Self {
        Self(Lines::Four(Vec::new()))
    }
}

/// Work on the lines of a block, whatever their width.
pub(super) trait OnLines {
    fn on<const WIDTH: usize>(self, lines: &mut [Line<WIDTH>]);
}

impl Block {
    /// There are so many slots.
    pub(super) fn grow(&mut self, slots: usize) {
        with_lines!(&mut self.0, lines => if lines.len() < slots {
            lines.resize(slots, Line::default());
        });
    }

    #[inline]
    pub(super) fn view(&self, slot: u32) -> View<'_> {
        with_lines!(&self.0, lines => lines.get(slot as usize).map_or(View::NONE, Line::view))
    }

    /// The slot is soon looked at.
    #[inline]
    pub(super) fn prefetch(&self, slot: u32) {
        with_lines!(&self.0, lines => if let Some(line) = lines.get(slot as usize) {
            prefetch(std::slice::from_ref(&line.usual));
            prefetch(std::slice::from_ref(&line.links[0]));
        });
    }

    pub(super) fn with(&mut self, work: impl OnLines) {
        with_lines!(&mut self.0, lines => work.on(lines));
    }

    /// These links' peers have this version. If there is no room at all, the oldest one is forgotten:
    /// who has no other is told the slot whole. Gives who has a newer one, of them and others.
    pub(super) fn insert(&mut self, slot: u32, version: Version, links: LinkBits) -> LinkBits {
        loop {
            let inserted = with_lines!(&mut self.0, lines => match lines.get_mut(slot as usize) {
                Some(line) => line.insert(version, links),
                None => return 0,
            });
            if let Ok(newer) = inserted {
                return newer;
            }
            if let Lines::Most(lines) = &mut self.0 {
                let line = &mut lines[slot as usize];
                let last = line.links.len() - 1;
                if line.versions[last].is_newer_than(version) {
                    return LinkBits::MAX;
                }
                line.links[last] = 0;
            }
            self.widen();
        }
    }

    /// As [`Line::arrived`], whether or not there was room.
    pub(super) fn arrived(
        &mut self,
        slot: u32,
        version: Version,
        links: LinkBits,
    ) -> (LinkBits, LinkBits) {
        let View { usual, odd, .. } = self.view(slot);
        let links = links & (usual | odd);
        let newer = match links {
            0 => 0,
            links => self.insert(slot, version, links),
        };
        (links & odd, newer)
    }

    /// Twice as many versions for each slot, up to the most.
    fn widen(&mut self) {
        self.0 = match &self.0 {
            Lines::Four(lines) => Lines::Eight(lines.iter().map(Line::widen).collect()),
            Lines::Eight(lines) => Lines::Sixteen(lines.iter().map(Line::widen).collect()),
            Lines::Sixteen(lines) => Lines::Most(lines.iter().map(Line::widen).collect()),
            Lines::Most(_) => return,
        };
    }

    /// These links' peers have nothing of the slot that counts.
    pub(super) fn forget(&mut self, slot: u32, links: LinkBits) {
        with_lines!(&mut self.0, lines => if let Some(line) = lines.get_mut(slot as usize) {
            line.forget(links);
        });
    }

    /// Says whether a link sees the slot, and is told it in the usual way.
    pub(super) fn mark(&mut self, slot: u32, link: LinkBits, (usual, odd): (bool, bool)) {
        with_lines!(&mut self.0, lines => if let Some(line) = lines.get_mut(slot as usize) {
            let bit = |there| if there { link } else { 0 };
            line.usual = line.usual & !link | bit(usual);
            line.odd = line.odd & !link | bit(odd);
        });
    }

    /// A link is gone. One step for each slot.
    pub(super) fn remove(&mut self, link: LinkBits) {
        with_lines!(&mut self.0, lines => for line in lines {
            line.usual &= !link;
            line.odd &= !link;
            line.forget(link);
        });
    }

    /// Whether the link's peer has this version.
    #[inline]
    pub(super) fn holds(&self, slot: u32, link: LinkBits, version: Version) -> bool {
        self.view(slot).holds(link, version)
    }

    /// The newest version that the link's peer has, and the one before it, if it has that and no
    /// other peer has one between them.
    #[inline]
    pub(super) fn has(&self, slot: u32, link: LinkBits) -> (Option<Version>, Option<Version>) {
        let mut has = (None, None);
        self.view(slot)
            .groups(link, |_, newest, before| has = (newest, before));
        has
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What one link has, newest first, as if it were alone.
    fn two_newest(versions: &[u32]) -> (Option<u32>, Option<u32>) {
        let mut versions = versions.to_vec();
        versions.sort_unstable_by(|a, b| b.cmp(a));
        versions.dedup();
        (versions.first().copied(), versions.get(1).copied())
    }

    proptest! {
        /// Links acknowledge in any order, some far behind the others, and begin anew; each has what it
        /// would have alone.
        #[test]
        fn each_link_has_what_it_would_have_alone(
            steps in prop::collection::vec((0u32..6, 0u32..40, 0u32..8), 1..400),
        ) {
            let mut block = Block::default();
            block.grow(2);
            let mut alone = vec![Vec::new(); 6];
            for (at, (link, back, forgets)) in steps.into_iter().enumerate() {
                // The last links are behind.
                let version = (200 + at as u32 / 4 - back / 4).saturating_sub(link * 5);
                let bit = 1 << (link * 12);
                if forgets == 0 {
                    block.forget(1, bit);
                    alone[link as usize].clear();
                }
                let newer = block.insert(1, Version(version), bit);
                let alone_newer = alone[link as usize].iter().any(|there| *there > version);
                prop_assert_eq!(newer & bit != 0, alone_newer);
                alone[link as usize].push(version);
                for (link, alone) in alone.iter().enumerate() {
                    let bit = 1 << (link * 12);
                    let (newest, before) = two_newest(alone);
                    let has = block.has(1, bit);
                    prop_assert_eq!(has.0.map(|version| version.0), newest);
                    prop_assert!(newest.is_none_or(|newest| block.holds(1, bit, Version(newest))));
                    let before_it = before.is_none_or(|before| block.holds(1, bit, Version(before)));
                    prop_assert!(before_it);
                    // Unless somebody else has one that lies between.
                    let between = newest.zip(before).is_some_and(|(newest, before)| {
                        let mut others = (0..6).map(|other| 1 << (other * 12));
                        let mut others = others.by_ref().flat_map(|other| {
                            (before + 1..newest).map(move |version| (other, version))
                        });
                        others.any(|(other, version)| block.holds(1, other, Version(version)))
                    });
                    let has_before = has.1.map(|version| version.0);
                    prop_assert_eq!(has_before, before.filter(|_| !between));
                }
                prop_assert_eq!(block.has(0, bit), (None, None));
            }
        }
    }

    #[test]
    fn links_that_have_the_same_are_one_group() {
        let mut block = Block::default();
        block.grow(1);
        for version in [7, 8, 9] {
            let links = if version < 9 { 0b1111 } else { 0b1100 };
            block.insert(0, Version(version), links);
        }
        block.insert(0, Version(9), 1 << 5);
        let mut groups = vec![];
        block.view(0).groups(0b110_1111, |links, newest, before| {
            let number = |version: Option<Version>| version.map(|version| version.0);
            groups.push((links, number(newest), number(before)));
        });
        assert_eq!(
            groups,
            [
                (0b1100, Some(9), Some(8)),
                (0b10_0000, Some(9), None),
                (0b11, Some(8), Some(7)),
                (0b100_0000, None, None)
            ]
        );
    }

    #[test]
    fn at_the_widest_the_oldest_is_forgotten() {
        let mut block = Block::default();
        block.grow(3);
        for link in 0..40 {
            let newer = block.insert(2, Version(100 + link), 1 << link);
            assert_eq!(newer, 0, "link {link}");
        }
        for link in 0..40 {
            let kept = (link >= 8).then_some(Version(100 + link));
            assert_eq!(block.has(2, 1 << link).0, kept, "link {link}");
        }
        assert_ne!(block.insert(2, Version(99), 1 << 50) & 1 << 50, 0);
        block.remove(1 << 39);
        assert_eq!(block.has(2, 1 << 39), (None, None));
    }

    #[test]
    fn what_is_not_seen_is_not_noted() {
        let mut line = Line::<4>::default();
        assert_eq!(line.arrived(Version(3), 1), Ok((0, 0)));
        assert_eq!(line.links, [0; 4]);
        (line.usual, line.odd) = (1, 2);
        assert_eq!(
            line.arrived(Version(3), 0b111),
            Ok((2, 0)),
            "one is odd, one is not there"
        );
        assert_eq!(line.arrived(Version(2), 2), Ok((2, 3)));
        assert_eq!(line.links, [3, 2, 0, 0]);
        for link in 4..10 {
            line.usual |= 1 << link;
            let arrived = line.arrived(Version(link), 1 << link);
            assert_eq!(arrived.is_err(), link >= 6, "{link}");
        }
    }
}
