//! Quantities however they are written, names, negations, and the ranking of sentences.

use ergon_agent::text::quantities::Relation;
use ergon_agent::text::{analyse, rank};

/// How the first quantity of a text relates to the first of another.
fn relation(claim: &str, found: &str) -> Relation {
    let first = |text: &str| {
        let quantities = analyse(text).quantities;
        quantities.first().unwrap_or_else(|| panic!("no quantity in {text:?}")).clone()
    };
    first(claim).relation(&first(found))
}

#[test]
fn the_same_quantity_in_many_spellings() {
    let same = [
        ("1 , 200 people", "1,200 people"),
        ("1,200", "1.2 thousand"),
        ("12 hundred visitors", "1200 visitors"),
        ("two hundred and five ships", "205 ships"),
        ("twenty-five dogs", "25 dogs"),
        ("3 km", "3000 m"),
        ("3 kilometres", "3,000 metres"),
        ("三千米", "3 km"),
        ("3公里", "3000米"),
        ("$1.5 million", "US$1,500,000"),
        ("$3m", "3 million dollars"),
        ("120万元", "1,200,000 yuan"),
        ("百分之五", "5 %"),
        ("5 percent", "5 per cent"),
        ("90 minutes", "1.5 hours"),
        ("0 °C", "32 °F"),
        ("March 5, 2020", "2020-03-05"),
        ("5 March 2020", "2020年3月5日"),
        ("Mar. 5th, 2020", "二〇二〇年三月五日"),
        ("2020", "5 March 2020"),
        ("March 2020", "2020年3月5日"),
        ("the 1990s", "the 1990s"),
        ("the third", "第三"),
        ("3rd place", "third place"),
    ];
    for (claim, found) in same {
        assert_eq!(relation(claim, found), Relation::Same, "{claim} / {found}");
    }
}

#[test]
fn different_and_open_quantities() {
    let different = [
        ("1,200", "1,300"),
        ("3 km", "3 m"),
        ("$5 million", "€5 million"),
        ("5 %", "7 %"),
        ("2019", "2020"),
        ("5 March 2020", "6 March 2020"),
        ("third", "fourth"),
        ("三千米", "5公里"),
    ];
    for (claim, found) in different {
        assert_eq!(relation(claim, found), Relation::Different, "{claim} / {found}");
    }
    let open = [
        ("5 March 2020", "2020"),
        ("more than 400 ships", "512 ships"),
        ("about 1,200 people", "1,187 people"),
        ("5 km", "5 kg"),
        ("5", "5 %"),
    ];
    for (claim, found) in open {
        assert_eq!(relation(claim, found), Relation::Open, "{claim} / {found}");
    }
}

#[test]
fn names_and_negations() {
    let text = analyse("The Bank of England hired J. Smith, not Anna van Dyke, in May. Later It moved.");
    let names: Vec<String> = text.names.iter().map(|name| name.words.join(" ")).collect();
    assert_eq!(names[..3], ["bank england", "j smith", "anna van dyke"].map(|name| name.replace(" van", "")));
    let negated = |text: &str| {
        let text = analyse(text);
        text.terms.iter().filter(|term| term.negated).map(|term| term.key.clone()).collect::<Vec<_>>()
    };
    assert_eq!(negated("The bridge does not carry trams."), ["carri", "tram"]);
    assert!(negated("Not only trams use bridge No. 5.").is_empty());
    assert!(negated("大桥不通行电车。").contains(&"通行".to_string()));
    assert!(negated("不同的桥非常长。").is_empty());
}

#[test]
fn ranking_finds_the_sentence() {
    let sentences = [
        "Trams are red.",
        "The bridge was opened on 5 March 1931.",
        "",
        "Bridges are long.",
        "老桥于1931年通车。",
    ];
    assert_eq!(rank("When was the bridge opened in 1931?", &sentences)[0].0, 1);
    assert_eq!(rank("老桥何时通车", &sentences)[0].0, 4);
    let ranked = rank("", &sentences);
    assert_eq!(ranked.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert!(rank("anything", &[]).is_empty());
}
