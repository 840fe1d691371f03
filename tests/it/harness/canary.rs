//! A secret that must appear nowhere: not as it is, not in base64, not in hex.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// Bytes of a piece that a secret is cut into where parts of it are looked for as well.
const FRAGMENT_BYTES: usize = 16;

/// The secret with every form in which it could be written down.
pub struct Canary {
    text: String,
    encodings: Vec<String>,
}

impl Canary {
    /// The forms of a secret.
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), encodings: encodings(text) }
    }

    /// A secret that was never seen before, with a word by which a reader of a failure knows it.
    pub fn random(word: &str) -> Self {
        let mut bytes = [0; 24];
        getrandom::fill(&mut bytes).unwrap();
        let random: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Self::new(&format!("sk-canary-{word}-{random}"))
    }

    /// Every form of every piece of the secret's random end: what is half overwritten counts as there.
    pub fn fragments(&self) -> Vec<String> {
        let random = self.text.rsplit('-').next().unwrap().as_bytes().chunks_exact(FRAGMENT_BYTES);
        random.flat_map(|piece| encodings(std::str::from_utf8(piece).unwrap())).collect()
    }

    /// The secret.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Panics when the secret is in the bytes.
    pub fn assert_not_in(&self, bytes: &[u8], place: &str) {
        if let Some(at) = find_all(bytes, &self.encodings).first() {
            let around = &bytes[at.saturating_sub(80)..bytes.len().min(at + 160)];
            panic!("the secret is in {place}: {}", around.escape_ascii());
        }
    }

    /// Panics when the secret is in a file below a directory; returns how many files there are.
    pub fn assert_not_below(&self, directory: &Path) -> usize {
        let mut files = 0;
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files += self.assert_not_below(&path);
            } else {
                self.assert_not_in(&fs::read(&path).unwrap(), &path.display().to_string());
                files += 1;
            }
        }
        files
    }
}

/// Where any of these texts begins.
pub fn find_all(bytes: &[u8], wanted: &[impl AsRef<[u8]>]) -> Vec<usize> {
    // By their first two bytes, so that nearly every place is passed with one look.
    let mut begins = vec![false; 1 << 16];
    let mut by_begin: HashMap<usize, Vec<&[u8]>> = HashMap::new();
    for wanted in wanted.iter().map(AsRef::as_ref) {
        let begin = usize::from(wanted[0]) << 8 | usize::from(wanted[1]);
        begins[begin] = true;
        by_begin.entry(begin).or_default().push(wanted);
    }
    let (mut found, mut begin, mut at) = (Vec::new(), 0, 0);
    // Not as an iterator: without optimisation this takes a fifth of the time.
    while at < bytes.len() {
        begin = (begin << 8 | bytes[at] as usize) & 0xffff;
        if begins[begin]
            && at > 0
            && by_begin[&begin].iter().any(|wanted| bytes[at - 1..].starts_with(wanted))
        {
            found.push(at - 1);
        }
        at += 1;
    }
    found
}

fn encodings(text: &str) -> Vec<String> {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut encodings = vec![text.to_owned(), hex.to_uppercase(), hex];
    // Within other bytes base64 begins at one of three places; both ends depend on what is around.
    for start in 0..3 {
        let bytes = text.as_bytes()[start..].chunks_exact(3).flatten().copied().collect::<Vec<u8>>();
        let standard = base64(&bytes);
        encodings.extend([standard.replace('+', "-").replace('/', "_"), standard]);
    }
    encodings.sort();
    encodings.dedup();
    encodings
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks_exact(3) {
        let number = group.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
        text.extend([18, 12, 6, 0].map(|shift| char::from(LETTERS[number >> shift & 63])));
    }
    text
}

#[test]
fn canary_is_found_in_every_encoding_at_every_offset() {
    let canary = Canary::new("sk-a secret?>~");
    let found = |text: &str| {
        let text = text.as_bytes().to_vec();
        let check =
            std::panic::AssertUnwindSafe(|| Canary::new("sk-a secret?>~").assert_not_in(&text, "a text"));
        std::panic::catch_unwind(check).is_err()
    };
    assert_eq!(base64(b"Man"), "TWFu");
    for around in ["", "x", "xy", "xyz", "wxyz"] {
        let mut bytes = format!("{around}{}", canary.text()).into_bytes();
        bytes.resize(bytes.len().next_multiple_of(3), b'.');
        assert!(found(&base64(&bytes)), "{around}");
    }
    assert!(found("…736b2d6120736563726574 3f3e7e".replace(' ', "").as_str()) && found("a sk-a secret?>~ b"));
    assert!(!found("sk-another secret"));
}
