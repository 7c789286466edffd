//! A learned tokenizer reads back, encodes anything, shortens what it has seen, and is the same every time.

use ergon_checkpoint::{Tokenizer, train_byte_level_bpe};

const TEXTS: [&str; 4] = [
    "take the left lane",
    "take the right lane",
    "在前面路口左转",
    "在前面路口右转, then take the left lane",
];

#[test]
fn a_learned_tokenizer_reads_back() {
    let json = train_byte_level_bpe(TEXTS.into_iter(), 320, &["<bos>", "<think>"]).expect("trained");
    assert_eq!(json, train_byte_level_bpe(TEXTS.into_iter(), 320, &["<bos>", "<think>"]).expect("again"));
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, json).expect("written");
    let tokenizer = Tokenizer::from_file(&path).expect("read");
    assert_eq!(tokenizer.encode("<bos><think>", false).expect("ids"), [0, 1]);
    assert!(tokenizer.encode("take the left lane", false).expect("ids").len() <= 6);
    for text in TEXTS.into_iter().chain(["never seen: ÆØ 🚗\n\0", "  "]) {
        let ids = tokenizer.encode(text, false).expect("ids");
        assert!(ids.iter().all(|id| *id < 320));
        assert_eq!(tokenizer.decode(&ids, false).expect("text"), text);
    }
}
