//! The memory of a running process as root sees it, and searches in it.

use crate::harness::canary::find_all;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Memory is read in pages; those that hold nothing but zeros are left out.
const PAGE: usize = 4096;
/// Bytes that are shown around a finding.
const CONTEXT_BYTES: usize = 48;

/// A stretch of memory without a gap.
struct Region {
    /// Name of the mapping; empty for the heaps and stacks of threads.
    mapping: String,
    start: usize,
    bytes: Vec<u8>,
}

/// A copy of every mapping that the process can have written to.
pub struct Image {
    regions: Vec<Region>,
}

impl Image {
    /// Reads the memory of a process.
    ///
    /// # Panics
    /// When this process may not: it takes root or `CAP_SYS_PTRACE`, since the server is closed to others.
    pub fn of(process: u32) -> Self {
        let maps = fs::read_to_string(format!("/proc/{process}/maps"));
        let memory = File::open(format!("/proc/{process}/mem"));
        let (Ok(maps), Ok(memory)) = (maps, memory) else {
            panic!("the memory of process {process} cannot be read: run this test as root (CAP_SYS_PTRACE)");
        };
        let mut regions: Vec<Region> = Vec::new();
        for line in maps.lines() {
            let Some((range, mapping)) = parse_writable_mapping(line) else { continue };
            let mut page = [0; PAGE];
            for start in range.step_by(PAGE) {
                // A mapping may have gone meanwhile, and what is gone holds nothing.
                let read = memory.read_exact_at(&mut page, start as u64);
                if read.is_err() || page == [0; PAGE] {
                    continue;
                }
                match regions.last_mut() {
                    Some(last) if last.start + last.bytes.len() == start && last.mapping == mapping => {
                        last.bytes.extend_from_slice(&page);
                    }
                    _ => regions.push(Region { mapping: mapping.to_owned(), start, bytes: page.to_vec() }),
                }
            }
        }
        let image = Self { regions };
        assert!(image.len() > 1 << 18, "a program has more than {} bytes of memory", image.len());
        image
    }

    /// How many bytes there are.
    fn len(&self) -> usize {
        self.regions.iter().map(|region| region.bytes.len()).sum()
    }

    /// The same without a range of addresses.
    pub fn without(mut self, range: &Range<usize>) -> Self {
        for region in &mut self.regions {
            for (at, byte) in region.bytes.iter_mut().enumerate() {
                if range.contains(&(region.start + at)) {
                    *byte = 0;
                }
            }
        }
        self
    }

    /// Every place where one of these is, with the bytes around it.
    pub fn find(&self, wanted: &[impl AsRef<[u8]>]) -> Vec<String> {
        let find_all = |region: &Region| {
            find_all(&region.bytes, wanted).into_iter().map(|at| region.show(at)).collect::<Vec<_>>()
        };
        self.regions.iter().flat_map(find_all).collect()
    }
}

impl Region {
    fn show(&self, at: usize) -> String {
        let around =
            &self.bytes[at.saturating_sub(CONTEXT_BYTES)..self.bytes.len().min(at + 2 * CONTEXT_BYTES)];
        let mapping = if self.mapping.is_empty() { "anonymous" } else { &self.mapping };
        format!("{:#x} in {mapping}: {}", self.start + at, around.escape_ascii())
    }
}

/// The range and name of a mapping that the process can have written to; none for what is read from files.
fn parse_writable_mapping(line: &str) -> Option<(Range<usize>, &str)> {
    let mut words = line.split_ascii_whitespace();
    let (range, modes) = (words.next()?, words.next()?);
    let mapping = words.nth(3).unwrap_or_default();
    let of_the_kernel = mapping.starts_with("[v");
    let of_a_file = mapping.starts_with('/') && !modes.contains('w');
    if !modes.starts_with('r') || of_the_kernel || of_a_file {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    Some((usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?, mapping))
}

/// Where a process keeps the environment that it was started with.
pub fn environment_of(process: u32) -> Range<usize> {
    let about = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name, in parentheses, may hold anything; the third field follows it.
    let fields: Vec<&str> = about.rsplit_once(") ").unwrap().1.split(' ').collect();
    let field = |number: usize| fields[number - 3].trim().parse().unwrap();
    field(50)..field(51)
}

#[test]
fn memory_image_finds_text_and_can_exclude_a_range() {
    let canary = crate::harness::canary::Canary::random("self");
    let bytes = canary.text().as_bytes().to_vec();
    let here = Image::of(std::process::id());
    let fragments = canary.fragments();
    assert!(!here.find(&fragments).is_empty());
    let start = bytes.as_ptr() as usize;
    let (whole, without) = (here.find(&[&bytes]).len(), start..start + bytes.len());
    assert_eq!(here.without(&without).find(&[&bytes]).len(), whole - 1);
    let range = environment_of(std::process::id());
    assert!(!range.is_empty());
}
