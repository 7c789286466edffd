//! Which words carry a sentence, and which of them mean nearly the same.

use super::common::{COMMON, DOCUMENTS};

/// English words that say little by themselves.
#[rustfmt::skip]
const STOP: &[&str] = &[
    "a", "about", "after", "again", "all", "also", "although", "am", "an", "and", "any", "are", "as", "at", "be", "because",
    "been", "before", "being", "both", "but", "by", "can", "could", "d", "did", "do", "does", "during", "each", "either",
    "for", "from", "had", "has", "have", "having", "he", "her", "here", "hers", "herself", "him", "himself", "his", "how",
    "however", "i", "if", "in", "into", "is", "it", "its", "itself", "just", "ll", "may", "me", "might", "must", "my", "n't", "no",
    "nor", "not", "of", "on", "once", "one", "or", "other", "our", "out", "over", "own", "re", "s", "shall", "she", "should",
    "since", "so", "some", "such", "t", "than", "that", "the", "their", "theirs", "them", "themselves", "then", "there",
    "these", "they", "this", "those", "though", "through", "to", "too", "under", "until", "up", "upon", "us", "ve", "very", "was",
    "we", "were", "what", "when", "where", "which", "while", "who", "whom", "whose", "why", "will", "with", "would", "yet",
    "you", "your", "st", "nd", "rd", "th", "didn't", "doesn't", "don't", "isn't", "wasn't", "weren't", "hadn't", "hasn't",
    "haven't", "won't", "wouldn't", "can't", "cannot", "couldn't",
];

/// Chinese characters that only hold a sentence together.
const HAN_STOP: &str =
    "的了是在和与及或把被将从对于为以而且等之其也就都很又并着地得这那该此吗呢吧啊她他它我你们有到由向";

/// Whether a word says little by itself; in lower case.
pub fn is_stop(word: &str) -> bool {
    STOP.contains(&word)
}

/// Whether a Chinese character only holds a sentence together.
pub fn is_han_stop(character: &str) -> bool {
    HAN_STOP.contains(character)
}

/// How much a word of a claim tells, from 0 (among the commonest) to 1 (among the rarest, or not in the list): by how rare
/// its stem is in an encyclopaedia.
pub fn information(stem: &str) -> f32 {
    super::information::of(stem).unwrap_or(1.0)
}

/// How much a word of a question tells, from 0 (in nearly every text) to 1 (in none): by how many short texts of the kind that
/// answers are read from hold its stem. Words that the table does not hold are rare.
pub fn information_asked(stem: &str) -> f32 {
    let count =
        COMMON.binary_search_by(|(word, _)| (*word).cmp(stem)).map_or(2.0, |at| f32::from(COMMON[at].1));
    let total = f32::from(DOCUMENTS);
    (total / count).ln().max(0.0) / (total / 2.0).ln()
}

/// Whether a word is among the common ones.
pub fn is_common(stem: &str) -> bool {
    COMMON.binary_search_by(|(word, _)| (*word).cmp(stem)).is_ok()
}

/// Classes of words that can stand for one another in a report, as stems; irregular forms with their verb.
#[rustfmt::skip]
const ALIKE: &[&[&str]] = &[
    &["begin", "began", "begun", "start", "commenc", "launch"], &["film", "movi", "pictur"], &["die", "death", "dead", "pass"],
    &["born", "birth"], &["buy", "bought", "purchas", "acquir", "acquisit"], &["win", "won", "victori", "winner", "beat", "defeat"],
    &["found", "establish", "creat", "form", "founder", "incept"], &["say", "said", "state", "told", "tell", "claim", "announc", "declar", "note"],
    &["write", "wrote", "written", "author", "writer", "pen"], &["make", "made", "produc", "creat", "product"],
    &["leav", "left", "depart", "quit", "exit"], &["becom", "became", "turn"], &["lead", "led", "leader", "head", "chief"],
    &["kill", "murder", "slain"], &["child", "children", "kid"], &["man", "men"], &["woman", "women"], &["person", "peopl"],
    &["wife", "husband", "spous", "marri", "marriag", "wed"], &["son", "daughter", "child"], &["brother", "sister", "sibl"],
    &["compani", "firm", "corpor", "busi"], &["school", "colleg", "univers", "academi"], &["build", "built", "construct"],
    &["grow", "grew", "grown", "increas", "rise", "rose", "risen"], &["fall", "fell", "fallen", "drop", "declin", "decreas"],
    &["choos", "chose", "chosen", "select", "pick"], &["sing", "sang", "sung", "singer", "song", "vocal"],
    &["play", "player", "appear", "perform"], &["star", "appear", "featur", "cast"], &["show", "shown", "series", "program", "programm"],
    &["give", "gave", "given", "award", "present"], &["take", "took", "taken"], &["go", "went", "gone"], &["come", "came"],
    &["get", "got", "receiv", "obtain", "earn"], &["see", "saw", "seen"], &["know", "knew", "known"], &["run", "ran"],
    &["hold", "held", "host"], &["find", "found", "discov"], &["teach", "taught", "teacher"], &["think", "thought", "believ"],
    &["bring", "brought"], &["sell", "sold", "sale"], &["send", "sent"], &["spend", "spent"], &["lose", "lost", "loss"],
    &["meet", "met"], &["fight", "fought", "battl"], &["speak", "spoke", "spoken", "speech"], &["break", "broke", "broken"],
    &["draw", "drew", "drawn"], &["rise", "rose"], &["fly", "flew", "flown", "flight"], &["drive", "drove", "driven"],
    &["hit", "struck", "strike"], &["join", "sign", "enter"], &["big", "larg", "huge", "great"], &["small", "littl", "minor"],
    &["releas", "publish", "issu", "public", "launch", "debut"], &["movi", "film"], &["singl", "song", "track"], &["album", "record", "releas"],
    &["team", "club", "side", "squad"], &["game", "match"], &["season", "year"], &["footbal", "soccer"], &["goal", "score"],
    &["coach", "manag"], &["locat", "situat", "lie", "base"], &["near", "close"], &["town", "citi", "villag"],
    &["hous", "home", "resid", "live"], &["area", "region", "district"], &["unit", "america", "american", "u.s", "us", "usa"],
    &["britain", "british", "uk"], &["franc", "french"], &["germani", "german"], &["spain", "spanish"], &["china", "chines"],
    &["japan", "japanes"], &["itali", "italian"], &["ireland", "irish"], &["scotland", "scottish"], &["england", "english"],
    &["netherland", "dutch"], &["poland", "polish"], &["denmark", "danish"], &["sweden", "swedish"], &["turkey", "turkish"],
    &["portug", "portugues"], &["wale", "welsh"], &["greec", "greek"], &["law", "legisl", "bill", "act"], &["vote", "elect", "elector", "poll"],
    &["presid", "presidenti", "chairman", "chair"], &["job", "work", "employ", "career"], &["attack", "assault"], &["protest", "demonstr"],
    &["polic", "offic", "cop"], &["doctor", "physician"], &["car", "vehicl", "automobil"], &["road", "street", "highway", "rout"],
    &["ship", "vessel", "boat"], &["plane", "aircraft", "airplan"], &["student", "pupil"], &["studi", "research"], &["prize", "award", "medal"],
    &["role", "charact", "part"], &["serv", "servic"], &["hire", "appoint", "employ", "name"], &["replac", "succeed", "successor"],
    &["complet", "finish", "end"], &["close", "shut", "closur"], &["move", "reloc", "transfer"], &["open", "inaugur"],
    &["critic", "review"], &["prais", "posit", "acclaim"], &["video", "clip"], &["magazin", "newspap", "paper"], &["fan", "support"],
    &["money", "fund", "financi"], &["cost", "price", "worth", "valu"], &["member", "membership"], &["parti", "democrat", "republican"],
    &["help", "assist", "aid"], &["use", "util"], &["need", "requir"], &["want", "wish", "desir"], &["show", "reveal", "demonstr"],
    &["chang", "alter", "modifi"], &["remov", "delet", "elimin"], &["previous", "former", "earlier", "ex"], &["current", "now", "present"],
    &["quick", "fast", "rapid"], &["age", "old", "year"], &["third", "3rd"], &["disadvantag", "underprivileg", "poor"], &["origin", "first"],
    &["twin", "sister", "brother"], &["parent", "mother", "father"], &["mission", "oper"], &["stori", "plot", "narrat"],
    &["tv", "televis"], &["nfl", "footbal"], &["nba", "basketbal"], &["ground", "stadium", "arena"], &["weapon", "gun", "firearm"],
    &["arrest", "detain", "custodi"], &["fire", "dismiss", "sack"], &["resign", "retir", "step"], &["injur", "injuri", "hurt", "wound"],
];

/// The classes that a stem belongs to, as a set of bits over the table; two words are alike when they share one.
pub fn alike(stem: &str) -> Alike {
    let mut classes = [0; 4];
    for (slot, (at, _)) in
        ALIKE.iter().enumerate().filter(|(_, class)| class.contains(&stem)).take(4).enumerate()
    {
        classes[slot] = u16::try_from(at + 1).unwrap_or(0);
    }
    Alike(classes)
}

/// The classes of a word: up to four; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alike([u16; 4]);

impl Alike {
    /// Whether two words share a class.
    pub fn shares(self, other: Alike) -> bool {
        self.0.iter().any(|class| *class > 0 && other.0.contains(class))
    }
}
