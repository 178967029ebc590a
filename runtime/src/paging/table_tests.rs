use super::*;
use proptest::prelude::*;
use std::{collections::BTreeMap, convert::Infallible};

/// The device's side: words by address, read as a kernel reads them.
#[derive(Default)]
struct Device {
    words: BTreeMap<u64, u64>,
    next: u64,
    uploaded: usize,
}

impl Device {
    fn allocate(&mut self, bytes: u64) -> Result<u64, Infallible> {
        self.next += 0x10_0000;
        let address = self.next;
        self.next += bytes.next_multiple_of(4096);
        Ok(address)
    }

    fn receive(&mut self, table: &mut Table) {
        let frozen = table.upload(|address, words| {
            self.uploaded += words.len();
            let places = (0u64..).map(|index| address + index * 8);
            self.words.extend(places.zip(words.iter().copied()));
            Ok::<(), Infallible>(())
        });
        let frozen = frozen.unwrap();
        let Table { slabs, changed, .. } = frozen.table();
        assert!(changed.is_empty() && slabs.iter().all(|slab| slab.changed.count() == 0));
    }

    /// A walk of the tree, as the kernel does it.
    fn walk(&self, root: (u64, u32), address: u64) -> u64 {
        let top = address >> 36;
        if top >= u64::from(root.1) {
            return 0;
        }
        let node = self.words[&(root.0 + top * 8)];
        let leaf = self.words[&(node + ((address >> 24) & 4095) * 8)];
        self.words[&(leaf + ((address >> 12) & 4095) * 8)]
    }
}

#[derive(Clone, Debug)]
enum Step {
    Flat { index: usize, frame: u64, write: bool },
    Tree { page: u64, frame: u64, write: bool },
    FlatAbsent { index: usize },
    TreeAbsent { page: u64 },
    Round,
}

const PAGES: usize = 5000;

fn steps(width: Width) -> impl Strategy<Value = Vec<Step>> {
    let last = u64::from(width.root_entries()) << 24;
    // A few neighbourhoods, so that leaves and nodes are shared, and pages beyond the tree.
    let page =
        prop_oneof![0..50u64, last - 50..last + 5, (0..last), (0..200u64).prop_map(|p| p + 4000)];
    let step = prop_oneof![
        (0..PAGES, 1..1000u64, any::<bool>()).prop_map(|(index, frame, write)| Step::Flat {
            index,
            frame,
            write
        }),
        (page.clone(), 1..1000u64, any::<bool>()).prop_map(|(page, frame, write)| Step::Tree {
            page,
            frame,
            write
        }),
        (0..PAGES).prop_map(|index| Step::FlatAbsent { index }),
        page.prop_map(|page| Step::TreeAbsent { page }),
        Just(Step::Round),
    ];
    prop::collection::vec(step, 1..80)
}

/// Runs steps on a table and on two maps, and compares at each round what the device would see.
fn check(width: Width, steps: &[Step]) {
    let (mut device, mut table) = (Device::default(), Table::default());
    let base = device.allocate(PAGES as u64 * 8).unwrap();
    let flat = table.add_flat(PAGES, base);
    table.add_tree(width, |bytes| device.allocate(bytes)).unwrap();
    let reach = u64::from(width.root_entries()) << 24;
    let (mut flats, mut tree) = (BTreeMap::new(), BTreeMap::new());
    for step in steps.iter().chain([&Step::Round]) {
        match *step {
            Step::Flat { index, frame, write } => {
                let entry = Entry::new(frame * PAGE_BYTES, write);
                table.set(flat, index, entry);
                flats.insert(index, entry.word());
            }
            Step::FlatAbsent { index } => {
                table.set(flat, index, Entry::ABSENT);
                flats.remove(&index);
            }
            Step::Tree { page, frame, write } => {
                let entry = Entry::new(frame * PAGE_BYTES, write);
                let within = table.set_page(page, entry, |bytes| device.allocate(bytes)).unwrap();
                assert_eq!(within, page < reach);
                if within {
                    tree.insert(page, entry.word());
                }
            }
            Step::TreeAbsent { page } => {
                table.set_page(page, Entry::ABSENT, |bytes| device.allocate(bytes)).unwrap();
                tree.remove(&page);
            }
            Step::Round => {
                device.receive(&mut table);
                for index in 0..PAGES {
                    let expected = flats.get(&index).copied().unwrap_or(0);
                    assert_eq!(device.words[&(base + index as u64 * 8)], expected);
                }
                let root = table.root().unwrap();
                for (&page, &word) in &tree {
                    assert_eq!(device.walk(root, page << 12 | 0x123), word);
                }
                for page in [0, 3, 49, 4095, 4096, reach - 1, reach, reach / 2, u64::MAX >> 12] {
                    let expected = tree.get(&page).copied().unwrap_or(0);
                    assert_eq!(device.walk(root, page << 12), expected);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_device_sees_what_a_map_holds_in_47_bits(steps in steps(Width::Bits47)) {
        check(Width::Bits47, &steps);
    }
}

proptest! {
    // The root alone is 16 MiB here.
    #![proptest_config(ProptestConfig::with_cases(3))]

    #[test]
    fn the_device_sees_what_a_map_holds_in_57_bits(steps in steps(Width::Bits57)) {
        check(Width::Bits57, &steps);
    }
}

#[test]
fn only_changed_blocks_are_uploaded() {
    let (mut device, mut table) = (Device::default(), Table::default());
    let flat = table.add_flat(PAGES, 0x1000);
    device.receive(&mut table);
    assert_eq!(std::mem::take(&mut device.uploaded), PAGES, "everything at first");
    device.receive(&mut table);
    assert_eq!(device.uploaded, 0, "nothing changed");
    table.set(flat, 3, Entry::ABSENT);
    device.receive(&mut table);
    assert_eq!(device.uploaded, 0, "the same again is no change");
    table.set(flat, 3, Entry::new(PAGE_BYTES, true));
    table.set(flat, 64, Entry::new(PAGE_BYTES, true));
    table.set(flat, PAGES - 1, Entry::new(PAGE_BYTES, false));
    let mut writes = Vec::new();
    let upload = table.upload(|address, words| {
        writes.push((address, words.len()));
        Ok::<(), Infallible>(())
    });
    assert!(upload.is_ok());
    assert_eq!(writes, [(0x1000, 2 * BLOCK), (0x1000 + 4992 * 8, PAGES - 4992)]);
}

#[test]
fn failed_room_for_a_leaf_leaves_the_tree_as_it_was() {
    let (mut device, mut table) = (Device::default(), Table::default());
    table.add_tree(Width::Bits47, |bytes| device.allocate(bytes)).unwrap();
    let entry = Entry::new(PAGE_BYTES, true);
    for room in 0..2 {
        let mut left = room;
        let result = table.set_page(7, entry, |_| {
            left -= 1;
            if left < 0 { Err("no room") } else { Ok(0x9000_0000) }
        });
        assert_eq!(result, Err("no room"));
        device.receive(&mut table);
        assert_eq!(device.walk(table.root().unwrap(), 7 << 12), 0);
    }
    table.set_page(7, entry, |bytes| device.allocate(bytes)).unwrap();
    device.receive(&mut table);
    assert_eq!(device.walk(table.root().unwrap(), 7 << 12), entry.word());
}
