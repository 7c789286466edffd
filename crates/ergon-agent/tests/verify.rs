//! Claims in English and Chinese against documents with planted copies, changed numbers, negations and swapped roles.

use ergon_agent::copies::Copies;
use ergon_agent::verify::{Checked, check};
use ergon_gate::evidence::EvidenceLimits;
use ergon_types::{Author, Claim, Passage, Source, Verdict};

/// Sentences of some documents, cut at ends of sentences; a `!` before a document marks it as written by a model.
fn corpus(documents: &[&str]) -> (Vec<Source>, Vec<Passage>, Copies) {
    let mut sources = Vec::new();
    let mut passages = Vec::new();
    let texts: Vec<&str> = documents.iter().map(|text| text.trim_start_matches('!')).collect();
    for (at, text) in texts.iter().enumerate() {
        let author = if documents[at].starts_with('!') { Author::Model } else { Author::Unmarked };
        sources.push(Source {
            file: format!("{at}.txt"),
            sha256: "0".repeat(64),
            date: None,
            origin: None,
            author,
        });
        let chars: Vec<char> = text.chars().collect();
        let mut start = 0;
        for end in 0..chars.len() {
            let next_is_space = chars.get(end + 1).is_none_or(|c| c.is_whitespace());
            let ends = matches!(chars[end], '。' | '！')
                || (chars[end] == '.' && next_is_space)
                || end + 1 == chars.len();
            if ends {
                let text: String = chars[start..=end].iter().collect();
                passages.push(Passage { source: at, start_char: start, end_char: end + 1, text });
                start = end + 1;
            }
        }
    }
    (sources, passages, Copies::find(&texts))
}

fn checked(claim: &str, documents: &[&str]) -> Checked {
    let (sources, passages, copies) = corpus(documents);
    let claim = Claim { id: "c".to_string(), text: claim.to_string() };
    let checked = check(&claim, &sources, &passages, &copies, &EvidenceLimits::default());
    assert_eq!(checked.cleared.is_some(), checked.verdict == Verdict::Supported);
    assert!((0.0..=1.0).contains(&checked.score) && !checked.reasons.is_empty(), "{checked:?}");
    for citation in checked.citations.iter().chain(&checked.opposing) {
        let text: String = documents
            .iter()
            .map(|text| text.trim_start_matches('!'))
            .nth(citation.source.file.trim_end_matches(".txt").parse().expect("number"))
            .expect("document")
            .chars()
            .skip(citation.start_char)
            .take(citation.end_char - citation.start_char)
            .collect();
        assert_eq!(text, citation.cited_text);
    }
    checked
}

fn verdict(claim: &str, documents: &[&str]) -> Verdict {
    checked(claim, documents).verdict
}

const BRIDGE: &str = "The Aare Bridge was designed by the engineer Karl Meier. It was opened on March 5, 1931. \
    The bridge is 230 m long and cost 1.2 million francs. It does not carry trams.";
const BANK: &str = "Northwind Bank acquired Harbour Trust in 2014 for $1,200 million. The number of branches increased to 85.";

#[test]
fn supported_however_it_is_written() {
    for claim in [
        "The Aare Bridge was designed by Karl Meier.",
        "Karl Meier designed the Aare Bridge.",
        "The bridge is 0.23 km long.",
        "The bridge cost 1,200,000 francs.",
        "The bridge was opened on 5 March 1931.",
        "The bridge was opened in 1931.",
        "It does not carry trams.",
    ] {
        let checked = checked(claim, &[BRIDGE]);
        assert_eq!(checked.verdict, Verdict::Supported, "{claim}: {:?}", checked.reasons);
        assert!(!checked.citations.is_empty() && checked.opposing.is_empty());
    }
    for claim in [
        "Northwind Bank acquired Harbour Trust in 2014.",
        "Harbour Trust was acquired by Northwind Bank in 2014.",
        "Northwind Bank acquired Harbour Trust for $1.2 billion.",
    ] {
        assert_eq!(verdict(claim, &[BANK]), Verdict::Supported, "{claim}");
    }
}

#[test]
fn refuted_when_a_source_says_otherwise() {
    for claim in [
        "The bridge is 320 m long.",
        "The bridge cost 1.5 million francs.",
        "The bridge was opened on 5 April 1931.",
        "The Aare Bridge was designed by Anna Huber.",
        "The Aare Bridge was not designed by the engineer Karl Meier.",
        "It does carry trams.",
    ] {
        let checked = checked(claim, &[BRIDGE]);
        assert_eq!(checked.verdict, Verdict::Refuted, "{claim}: {:?}", checked.reasons);
        assert!(!checked.opposing.is_empty() && checked.citations.is_empty() && checked.score <= 0.1);
    }
    for claim in [
        "Harbour Trust acquired Northwind Bank in 2014.",
        "Northwind Bank was acquired by Harbour Trust in 2014.",
        "Northwind Bank acquired Harbour Trust in 2016.",
        "The number of branches decreased to 85.",
        "Northwind Bank acquired Harbour Trust for €1,200 million.",
    ] {
        let checked = checked(claim, &[BANK]);
        assert_eq!(checked.verdict, Verdict::Refuted, "{claim}: {:?}", checked.reasons);
    }
}

#[test]
fn not_enough_when_too_little_holds() {
    for claim in [
        "The Aare Bridge was painted green by local artists.",
        "The mayor of Bern likes the bridge.",
        "Trams in Vienna are red.",
        "Karl Meier was born in 1880.",
        "",
        "…",
    ] {
        assert_eq!(verdict(claim, &[BRIDGE]), Verdict::NotEnough, "{claim}");
    }
    assert_eq!(verdict("Anything at all.", &[]), Verdict::NotEnough);
    // Two sentences with the words of the claim, about two people.
    let two = "Alice Brown founded Betacorp in 1990. Carol White founded Deltacorp in 1995.";
    for claim in [
        "Alice Brown founded Deltacorp.",
        "Carol White founded Betacorp.",
        "Alice Brown founded Betacorp in 1995.",
    ] {
        assert_ne!(verdict(claim, &[two]), Verdict::Supported, "{claim}");
    }
    assert_eq!(verdict("Alice Brown founded Betacorp.", &[two]), Verdict::Supported);
    let numbers = "The clinic employs 3 surgeons and 5 nurses.";
    assert_eq!(verdict("The clinic employs 3 surgeons.", &[numbers]), Verdict::Supported);
    assert_ne!(verdict("The clinic employs 5 surgeons and 3 nurses.", &[numbers]), Verdict::Supported);
    assert_ne!(verdict("The clinic employs 5 surgeons.", &[numbers]), Verdict::Supported);
    // All is more than some.
    assert_ne!(
        verdict("All patients recovered within a week.", &["Some patients recovered within a week."]),
        Verdict::Supported
    );
}

#[test]
fn independent_sources_that_disagree_contradict() {
    let other = "Historians in town write that the Aare Bridge is 250 m long, measured from bank to bank by surveyors.";
    let checked = checked(
        "The Aare Bridge is 250 m long.",
        &[BRIDGE.replace("The bridge is", "The Aare Bridge is").as_str(), other],
    );
    assert_eq!(checked.verdict, Verdict::Contradicted, "{:?}", checked.reasons);
    assert_eq!(
        (checked.citations[0].source.file.as_str(), checked.opposing[0].source.file.as_str()),
        ("1.txt", "0.txt")
    );
}

#[test]
fn copies_count_once_and_a_changed_copy_is_an_alarm() {
    let altered = BRIDGE.replace("230", "290");
    let copy = BRIDGE.to_string();
    let alone = checked("The bridge is 230 m long.", &[BRIDGE]);
    let twice = checked("The bridge is 230 m long.", &[BRIDGE, &copy, &copy]);
    assert_eq!((twice.verdict, twice.score.to_bits()), (Verdict::Supported, alone.score.to_bits()));
    assert_eq!(twice.citations.len(), alone.citations.len());

    // One text in two versions: neither is known to be the right one.
    for claim in ["The bridge is 230 m long.", "The bridge is 290 m long."] {
        let both = checked(claim, &[BRIDGE, &altered]);
        assert_eq!(both.verdict, Verdict::Contradicted, "{claim} {:?}", both.reasons);
        assert_eq!(both.alarms.len(), 1);
        assert!(both.reasons.iter().any(|reason| reason.starts_with("alarm")));
    }
    // An independent source tells which.
    let other =
        "Surveyors of the canton came again in 2019. They write that the bridge near the mill is 230 m long.";
    let right = checked("The bridge is 230 m long.", &[BRIDGE, &altered, other]);
    assert_eq!((right.verdict, right.alarms.len()), (Verdict::Supported, 1), "{:?}", right.reasons);
    let wrong = checked("The bridge is 290 m long.", &[BRIDGE, &altered, other]);
    assert_eq!((wrong.verdict, wrong.alarms.len()), (Verdict::Refuted, 1), "{:?}", wrong.reasons);
}

#[test]
fn what_a_model_wrote_is_no_evidence() {
    let written = format!("!{BRIDGE}");
    let checked = checked("The bridge is 230 m long.", &[&written]);
    assert_eq!(checked.verdict, Verdict::NotEnough);
    assert!(checked.citations.is_empty() && checked.reasons.iter().any(|reason| reason.contains("model")));
    assert_eq!(verdict("The bridge is 320 m long.", &[&written]), Verdict::NotEnough);
}

const CHINESE: &str =
    "老桥由工程师王明设计。该桥于1931年3月5日通车，全长三千米，耗资120万元。大桥不通行电车。";

#[test]
fn chinese_claims() {
    for claim in [
        "老桥由工程师王明设计。",
        "该桥全长3公里。",
        "该桥于一九三一年三月五日通车。",
        "该桥耗资1,200,000元。",
        "大桥不通行电车。",
    ] {
        let checked = checked(claim, &[CHINESE]);
        assert_eq!(checked.verdict, Verdict::Supported, "{claim}: {:?}", checked.reasons);
    }
    for claim in ["该桥全长5公里。", "该桥于1932年通车。", "该桥耗资120万美元。", "大桥通行电车。"]
    {
        let checked = checked(claim, &[CHINESE]);
        assert_eq!(checked.verdict, Verdict::Refuted, "{claim}: {:?}", checked.reasons);
    }
    for claim in ["老桥由工程师李华设计。", "新桥由市长王明下令拆除。"] {
        assert_ne!(verdict(claim, &[CHINESE]), Verdict::Supported, "{claim}");
    }
    let trade = "甲公司于2014年收购了乙公司。";
    assert_eq!(verdict("甲公司收购了乙公司。", &[trade]), Verdict::Supported);
    assert_ne!(verdict("乙公司收购了甲公司。", &[trade]), Verdict::Supported);
    assert_ne!(verdict("王明创建了乙公司。", &["王明创建了甲公司。李华创建了乙公司。"]), Verdict::Supported);
}

#[test]
fn nothing_from_outside_panics() {
    let long = "万 1 , 200 Anna's e\u{301} 👩‍🚀 — not 5 km/h, 2020年13月40日 $ ".repeat(3000);
    let odd = [
        "",
        " ",
        "👩‍👩‍👧‍👦",
        "\u{202e}abc\u{0}",
        "1,2,3,4,,,",
        "百分之",
        "第",
        "$",
        "99999999999999999999999999 km",
        "-",
        "”“《",
        &long,
    ];
    for claim in odd {
        for document in odd {
            checked(claim, &[document, BRIDGE]);
        }
    }
    // A claim whose end would not be looked at is not cleared by its beginning.
    let padded = format!("{} The bridge is 230 m long.", "The bridge is 230 m long. ".repeat(100));
    assert_ne!(verdict(&padded, &[BRIDGE]), Verdict::Supported);
    let claim = Claim { id: String::new(), text: "x".to_string() };
    let stray = Passage { source: 7, start_char: 0, end_char: 1, text: "x".to_string() };
    let checked = check(&claim, &[], &[stray], &Copies::default(), &EvidenceLimits::default());
    assert_eq!(checked.verdict, Verdict::NotEnough);
}

/// Random numbers without a library: Knuth's MMIX generator.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// A small report about works and people, and a claim about it.
fn random_case(rng: &mut Lcg) -> (String, Vec<String>) {
    let people = ["Anna Huber", "Karl Meier", "Li Wei", "Omar Said"];
    let works = ["the Aare Bridge", "the North Tower", "the Old Mill", "the Lake Tunnel"];
    let sentence = |rng: &mut Lcg| {
        let (person, work) = (people[rng.below(4)], works[rng.below(4)]);
        match rng.below(4) {
            0 => format!("In {} {person} designed {work}.", 1900 + rng.below(9)),
            1 => format!("{person} sold {work} for {} million francs.", 2 + rng.below(9)),
            2 => {
                format!("The visitors of {work} numbered {} in {}.", 100 + rng.below(9), 1950 + rng.below(4))
            }
            _ => format!("{person} did not like {work}, which is {} m high.", 10 + rng.below(9)),
        }
    };
    let documents: Vec<String> = (0..1 + rng.below(3))
        .map(|_| (0..1 + rng.below(4)).map(|_| sentence(rng)).collect::<Vec<_>>().join(" "))
        .collect();
    let claim = if rng.below(2) == 0 {
        let sentences: Vec<&str> = documents[0].split_inclusive(". ").collect();
        sentences[rng.below(sentences.len())].trim().to_string()
    } else {
        sentence(rng)
    };
    (claim, documents)
}

#[test]
fn less_evidence_never_clears_and_copies_never_raise() {
    let mut rng = Lcg(1);
    let mut counts = [0, 0];
    let limits = EvidenceLimits::default();
    for case in 0..400 {
        let (text, documents) = random_case(&mut rng);
        let texts: Vec<&str> = documents.iter().map(String::as_str).collect();
        let (sources, passages, copies) = corpus(&texts);
        let claim = Claim { id: String::new(), text };
        let all = check(&claim, &sources, &passages, &copies, &limits);
        counts[usize::from(all.cleared.is_some())] += 1;
        // What speaks against a claim may refuse it, and its absence then clears: those cases are not about support.
        if all.cleared.is_none() && all.verdict == Verdict::NotEnough {
            for left_out in 0..passages.len() {
                let mut fewer = passages.clone();
                fewer.remove(left_out);
                let less = check(&claim, &sources, &fewer, &copies, &limits);
                let conflicts = all.reasons.iter().any(|reason| reason.contains("otherwise"));
                assert!(
                    less.cleared.is_none() || conflicts,
                    "case {case}: {claim:?} {documents:?} {:?}",
                    all.reasons
                );
            }
        }
        for copied in 0..texts.len() {
            let more: Vec<&str> = texts.iter().copied().chain([texts[copied]]).collect();
            let (sources, passages, copies) = corpus(&more);
            let again = check(&claim, &sources, &passages, &copies, &limits);
            assert_eq!(
                (again.verdict, again.score.to_bits()),
                (all.verdict, all.score.to_bits()),
                "case {case}"
            );
        }
    }
    assert!(counts.iter().all(|count| *count > 80), "both outcomes must occur: {counts:?}");
}

#[test]
fn a_changed_number_always_loses_the_support() {
    let mut rng = Lcg(2);
    let mut tried = 0;
    for case in 0..400 {
        let (text, documents) = random_case(&mut rng);
        let texts: Vec<&str> = documents.iter().map(String::as_str).collect();
        if verdict(&text, &texts) != Verdict::Supported {
            continue;
        }
        let digits: Vec<usize> =
            text.char_indices().filter(|(_, c)| c.is_ascii_digit()).map(|(at, _)| at).collect();
        for at in digits {
            for new in '1'..='9' {
                let changed = format!("{}{new}{}", &text[..at], &text[at + 1..]);
                // A document may say the same of another year or number: then the changed claim is said too.
                if changed == text || texts.iter().any(|document| document.contains(changed.as_str())) {
                    continue;
                }
                tried += 1;
                assert_ne!(
                    verdict(&changed, &texts),
                    Verdict::Supported,
                    "case {case}: {changed} {documents:?}"
                );
            }
        }
    }
    assert!(tried > 1000, "{tried}");
}

#[test]
fn what_is_said_word_for_word_is_supported_unless_it_is_denied_around() {
    let page =
        "Sales grew by 5 % in 2019 and by 7 % in 2020. Sales grew by 3 % in 2021 and fell by 5 % in 2022.";
    for sentence in [
        "Sales grew by 5 % in 2019 and by 7 % in 2020.",
        "Sales grew by 3 % in 2021 and fell by 5 % in 2022.",
    ] {
        assert_eq!(verdict(sentence, &[page]), Verdict::Supported);
    }
    let denied = "It is not true that the bridge is 230 m long.";
    assert_ne!(verdict("The bridge is 230 m long.", &[denied]), Verdict::Supported);
}
