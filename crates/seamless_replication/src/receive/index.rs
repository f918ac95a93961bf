//! From short names to places in a list.

/// Names of one page.
const PAGE: usize = 256;

const NONE: u32 = u32::MAX;

/// Places by index, in pages that are made when something in them is used. A peer that spreads few
/// names over all that may be pays a page of ours for each, four megabytes at most.
#[derive(Default)]
pub(super) struct PagedIndex {
    pages: Vec<Option<Box<[u32; PAGE]>>>,
}

impl PagedIndex {
    /// The place of an index.
    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<u32> {
        let page = self.pages.get(index as usize / PAGE)?.as_deref()?;
        let place = page[index as usize % PAGE];
        (place != NONE).then_some(place)
    }

    /// Gives an index a place, or takes it.
    pub(super) fn set(&mut self, index: u32, place: Option<u32>) {
        let at = index as usize / PAGE;
        if at >= self.pages.len() {
            if place.is_none() {
                return;
            }
            self.pages.resize_with(at + 1, || None);
        }
        let page = self.pages[at].get_or_insert_with(|| Box::new([NONE; PAGE]));
        page[index as usize % PAGE] = place.unwrap_or(NONE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_found_until_it_is_taken() {
        let mut index = PagedIndex::default();
        for (name, place) in [(3, 0), (300, 1), (1 << 19, 2)] {
            index.set(name, Some(place));
        }
        index.set(300, None);
        index.set(9999999, None);
        assert_eq!(index.get(3), Some(0));
        assert_eq!(index.get(4), None);
        assert_eq!(index.get(300), None);
        assert_eq!(index.get(1 << 19), Some(2));
        assert_eq!(index.pages.iter().flatten().count(), 3);
    }
}
