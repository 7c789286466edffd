//! What a question asks for, by its wording.

/// The kind of a short answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A day, a month, a year.
    Date,
    /// A number or an amount.
    Number,
    /// A person, a group, an organisation.
    Name,
    /// A place.
    Place,
    /// One word of a closed list.
    Listed(&'static [&'static str]),
    /// What something is: the words after "is a".
    Description,
}

const SPORTS: &[&str] = &[
    "american football",
    "australian rules football",
    "association football",
    "rugby union",
    "rugby league",
    "ice hockey",
    "field hockey",
    "table tennis",
    "water polo",
    "cross-country skiing",
    "figure skating",
    "beach volleyball",
    "horse racing",
    "motor racing",
    "gaelic football",
    "football",
    "soccer",
    "basketball",
    "baseball",
    "cricket",
    "tennis",
    "golf",
    "hockey",
    "rugby",
    "boxing",
    "wrestling",
    "swimming",
    "cycling",
    "athletics",
    "volleyball",
    "handball",
    "chess",
    "snooker",
    "darts",
    "rowing",
    "sailing",
    "skiing",
    "softball",
    "lacrosse",
    "badminton",
    "squash",
    "judo",
    "karate",
    "fencing",
    "archery",
    "weightlifting",
    "curling",
    "surfing",
    "afl",
    "nfl",
    "nba",
    "hurling",
    "bowling",
    "gymnastics",
    "triathlon",
    "motorsport",
    "formula one",
    "nascar",
    "polo",
    "netball",
];
const PARTIES: &[&str] = &[
    "republican party",
    "democratic party",
    "labour party",
    "labor party",
    "conservative party",
    "liberal party",
    "liberal democrats",
    "green party",
    "communist party",
    "socialist party",
    "christian democratic",
    "national party",
    "republican",
    "democratic",
    "democrat",
    "labour",
    "conservative",
    "liberal",
    "whig",
    "federalist",
    "independent",
    "socialist",
    "communist",
    "progressive conservative",
];
const LANGUAGES: &[&str] = &[
    "english",
    "french",
    "german",
    "spanish",
    "italian",
    "hindi",
    "tamil",
    "telugu",
    "malayalam",
    "kannada",
    "bengali",
    "punjabi",
    "urdu",
    "marathi",
    "gujarati",
    "russian",
    "chinese",
    "mandarin",
    "cantonese",
    "japanese",
    "korean",
    "arabic",
    "turkish",
    "persian",
    "dutch",
    "portuguese",
    "polish",
    "swedish",
    "danish",
    "norwegian",
    "finnish",
    "greek",
    "hungarian",
    "czech",
    "filipino",
    "indonesian",
    "thai",
];

/// The kind of answer that a question asks for.
pub(super) fn kind(question: &str) -> Kind {
    let lower = question.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(&[
        "when ",
        "what year",
        "which year",
        "birth date",
        "release date",
        "what date",
        "何时",
        "哪年",
        "哪一年",
        "什么时候",
    ]) {
        Kind::Date
    } else if has(&[
        "population",
        "how many",
        "how much",
        "median age",
        "elevation",
        "how long",
        "how tall",
        "how high",
        "density",
        "多少",
        "几",
    ]) {
        Kind::Number
    } else if has(&["what sport", "which sport"]) {
        Kind::Listed(SPORTS)
    } else if has(&["political party"]) {
        Kind::Listed(PARTIES)
    } else if has(&["language"]) {
        Kind::Listed(LANGUAGES)
    } else if has(&[
        "where ",
        "which city",
        "which state",
        "which country",
        "what city",
        "what country",
        "location of",
        "哪里",
        "何处",
    ]) {
        Kind::Place
    } else if has(&["who ", "whose ", "artist", "director", "author", "composer", "architect", "owner", "谁"])
    {
        Kind::Name
    } else {
        Kind::Description
    }
}

/// Words that stand beside the answer to a question with some word in it.
pub(super) const CUES: &[(&str, &[&str])] = &[
    ("population", &["population", "people", "inhabitants", "census", "residents"]),
    ("born", &["born", "b"]),
    ("birth", &["born", "birth"]),
    ("die", &["died", "death", "d"]),
    ("established", &["established", "founded", "opened", "created", "formed", "built", "erected", "began"]),
    ("founded", &["founded", "established", "created", "formed"]),
    ("built", &["built", "constructed", "completed", "erected", "opened"]),
    ("constructed", &["constructed", "built", "completed", "erected"]),
    ("released", &["released", "release", "published"]),
    ("release", &["released", "release", "published"]),
    ("directed", &["directed", "director"]),
    ("director", &["directed", "director", "film"]),
    ("artist", &["by", "album", "recorded", "band", "singer", "rapper"]),
    ("band", &["by", "album", "band"]),
    ("composer", &["composed", "composer", "by"]),
    ("architect", &["designed", "architect", "built"]),
    ("author", &["written", "author", "by", "wrote", "novel"]),
    ("located", &["located", "in", "situated", "near"]),
    ("median", &["median", "age"]),
    ("elected", &["elected", "election", "office"]),
    ("producer", &["produced", "producer"]),
    ("produced", &["produced", "producer"]),
    ("owner", &["owned", "owner"]),
    ("写", &["作者", "写"]),
];
