//! How fast a folder is indexed, how large the index is, how fast it answers. Run by hand:
//! `cargo test --release -p ergon-agent --test scale -- --ignored --nocapture`
#![allow(clippy::unwrap_used)]

use std::{fmt::Write, fs, time::Instant};

use ergon_agent::documents::{Filter, Library, LibraryOptions, ReadLimits, retrieve};

const PAGES: usize = 100_000;
const PAGE_BYTES: usize = 2_000;

/// Numbers from a seed: Knuth's linear congruence, upper bits.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

fn word(number: usize) -> String {
    let syllables =
        ["ba", "ce", "di", "fo", "gu", "ka", "le", "mi", "no", "pu", "ra", "se", "ti", "vo", "zu", "an"];
    let mut number = number + 16;
    let mut word = String::new();
    while number > 0 {
        word.push_str(syllables[number % 16]);
        number /= 16;
    }
    word
}

/// About 2 KB of sentences; words come as often as Zipf says, one page in five is Chinese.
fn page(numbers: &mut Numbers) -> String {
    let mut text = String::new();
    let is_chinese = numbers.below(5) == 0;
    while text.len() < PAGE_BYTES {
        for _ in 0..8 + numbers.below(14) {
            let number = 40_000 / (1 + numbers.below(40_000));
            match is_chinese {
                true => text.push(char::from_u32(0x4e00 + (number % 5_000) as u32).unwrap()),
                false => write!(text, "{} ", word(number)).unwrap(),
            }
        }
        let end = if is_chinese { "年。" } else { ". " };
        write!(text, "{}{end}", 1_000 + numbers.below(9_000)).unwrap();
    }
    text
}

#[test]
#[ignore = "minutes and half a gigabyte"]
fn a_hundred_thousand_pages() {
    let folder = tempfile::tempdir().unwrap();
    let mut numbers = Numbers(7);
    let mut bytes = 0;
    for number in 0..PAGES {
        let place = folder.path().join(format!("{:03}", number / 500));
        fs::create_dir_all(&place).unwrap();
        let text = page(&mut numbers);
        bytes += text.len();
        fs::write(place.join(format!("{number}.txt")), text).unwrap();
    }
    let options = LibraryOptions {
        home: None,
        fallback: None,
        except: Vec::new(),
        limits: ReadLimits::default(),
        sidecar: None,
        stop: Default::default(),
        now_ns: i64::MAX,
    };
    let open = || Library::open(folder.path(), &options, &mut |_| ()).unwrap();
    let start = Instant::now();
    let size = open().size();
    let seconds = start.elapsed().as_secs_f64();
    println!("{PAGES} pages, {:.0} MB of text, {} sentences", bytes as f64 / 1e6, size.sentences);
    println!(
        "indexed in {seconds:.1} s: {:.0} pages/s; {:.0} MB on disk",
        PAGES as f64 / seconds,
        size.bytes as f64 / 1e6
    );
    let start = Instant::now();
    let library = open();
    println!("opened again, nothing changed, in {:.2} s", start.elapsed().as_secs_f64());
    let start = Instant::now();
    for number in 0..50 {
        let query = format!(
            "{} {} {} {}",
            word(3 + number),
            word(100 + number),
            word(9_000 + number),
            1_000 + number
        );
        retrieve(&library, &query, &Filter::default()).unwrap();
    }
    println!("one retrieval of four words in {:.1} ms", start.elapsed().as_secs_f64() * 1e3 / 50.0);
    fs::write(folder.path().join("000/0.txt"), "One page has changed.").unwrap();
    let start = Instant::now();
    assert_eq!(open().updated().read, 1);
    println!("opened with one changed page in {:.2} s", start.elapsed().as_secs_f64());
}
