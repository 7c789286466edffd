//! Instructions as people say them, and back. The way back serves only to choose a world in which the words make sense
//! and to score the run; a policy gets the words.

use ergon_types::ActorKind;

use super::sayings::{ACTORS, sayings};
use super::{Instruction, Language, Side, Turn};
use crate::Rng;

/// One of the ways to say an instruction.
pub fn phrase(instruction: Instruction, language: Language, rng: &mut Rng) -> String {
    let options = sayings(instruction, language);
    let chosen = options[rng.below(options.len())];
    let text = match instruction {
        Instruction::SetSpeed { kmh } => chosen.replace("{}", &kmh.to_string()),
        Instruction::Follow(kind) => chosen.replace("{}", actor_word(kind, language)),
        _ => chosen.to_owned(),
    };
    // People write with and without a capital and a full stop.
    match (language, rng.below(4)) {
        (Language::English, 0) => {
            let mut letters = text.chars();
            letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
        }
        (Language::English, 1) => text + ".",
        (Language::Chinese, 0) => text + "。",
        _ => text,
    }
}

fn actor_word(kind: ActorKind, language: Language) -> &'static str {
    let row = ACTORS.iter().find(|row| row.0 == kind).unwrap_or(&ACTORS[0]);
    match language {
        Language::English => row.1[0],
        Language::Chinese => row.2[0],
    }
}

/// What words ask for, and in which language; `None` if nothing is recognised.
pub fn parse(text: &str) -> Option<(Instruction, Language)> {
    let chinese = text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
    if chinese {
        Some((parse_chinese(text)?, Language::Chinese))
    } else {
        Some((parse_english(&text.to_lowercase())?, Language::English))
    }
}

/// Words of an English sentence, with an answer to "does one of these stand in it".
struct Words<'a>(Vec<&'a str>);

impl Words<'_> {
    fn any(&self, options: &[&str]) -> bool {
        self.0.iter().any(|word| options.contains(word))
    }

    fn kind(&self) -> Option<ActorKind> {
        ACTORS.iter().find(|row| self.any(row.1)).map(|row| row.0)
    }
}

fn parse_english(text: &str) -> Option<Instruction> {
    let words =
        Words(text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect());
    let negated = words.any(&["don", "dont", "not", "no", "without", "avoid", "never"]);
    let lane = words.any(&["lane", "lanes"]);
    if negated && lane
        || lane && words.any(&["stay", "keep", "hold", "remain"]) && !words.any(&["left", "right"])
    {
        return Some(Instruction::KeepLane);
    }
    let following = words.any(&["follow", "behind", "tail"]);
    if let Some(kind) = words.kind().filter(|_| following) {
        return Some(Instruction::Follow(kind));
    }
    if words.any(&["follow"]) && words.any(&["vehicle", "it", "him", "leader"]) {
        return Some(Instruction::Follow(ActorKind::Car));
    }
    if let Some(kmh) = number_english(&words) {
        return Some(Instruction::SetSpeed { kmh });
    }
    stops_english(text, &words)
        .or_else(|| ways_english(&words, lane))
        .or_else(|| speeds_english(text, &words))
}

fn number_english(words: &Words) -> Option<u32> {
    let number = words.0.iter().find_map(|word| {
        let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        digits.parse::<u32>().ok().filter(|kmh| (3..=250).contains(kmh))
    })?;
    let miles = words.0.iter().any(|word| word.ends_with("mph") || *word == "miles");
    Some(if miles { (f64::from(number) * 1.609).round() as u32 } else { number })
}

fn stops_english(text: &str, words: &Words) -> Option<Instruction> {
    let aside = words.any(&["side", "edge", "roadside", "shoulder", "kerb", "curb", "over"]);
    let halting = words.any(&["stop", "halt", "park", "pull", "standstill", "stopping"]);
    if text.contains("pull over") || text.contains("pull up") || halting && aside || words.any(&["park"]) {
        return Some(Instruction::PullOver);
    }
    halting.then_some(Instruction::Stop)
}

fn ways_english(words: &Words, lane: bool) -> Option<Instruction> {
    let turning =
        words.any(&["turn", "turning", "junction", "intersection", "crossing", "crossroads", "lights"]);
    let side = match (words.any(&["left"]), words.any(&["right"])) {
        (true, false) => Some(Side::Left),
        (false, true) => Some(Side::Right),
        _ => None,
    };
    match side {
        Some(side)
            if lane || !turning && words.any(&["merge", "move", "shift", "over", "change", "switch"]) =>
        {
            Some(Instruction::ChangeLane(side))
        }
        Some(Side::Left) => Some(Instruction::Turn(Turn::Left)),
        Some(Side::Right) => Some(Instruction::Turn(Turn::Right)),
        None if words.any(&["straight"]) => Some(Instruction::Turn(Turn::Straight)),
        None => None,
    }
}

fn speeds_english(text: &str, words: &Words) -> Option<Instruction> {
    if words.any(&["slow", "slower", "slowly", "decelerate", "brake"]) || text.contains("reduce speed") {
        return Some(Instruction::SlowDown);
    }
    if words.any(&["faster", "accelerate", "quicker", "hurry"]) || text.contains("speed up") {
        return Some(Instruction::SpeedUp);
    }
    if words.any(&["goal", "target", "destination", "time"]) {
        return Some(Instruction::ReachGoal);
    }
    let on = words.any(&["drive", "driving", "continue", "route", "road", "go", "on", "navigation", "carry"]);
    on.then_some(Instruction::FollowRoute)
}

fn parse_chinese(text: &str) -> Option<Instruction> {
    let has = |options: &[&str]| options.iter().any(|word| text.contains(word));
    let number = number_chinese(text);
    if has(&["不要变道", "别变道", "不变道", "不要换道", "保持车道", "本车道", "当前车道", "别换"])
        || has(&["保持在"]) && number.is_none()
    {
        return Some(Instruction::KeepLane);
    }
    if has(&["跟着", "跟住", "跟随", "跟在", "尾随", "跟上"]) {
        let kind = ACTORS.iter().find(|row| has(row.2)).map(|row| row.0);
        return match kind {
            Some(kind) => Some(Instruction::Follow(kind)),
            None if has(&["车"]) => Some(Instruction::Follow(ActorKind::Car)),
            None => Some(Instruction::FollowRoute),
        };
    }
    if has(&["靠边", "路边", "停靠", "靠右停"]) {
        return Some(Instruction::PullOver);
    }
    if let Some(kmh) = number {
        return Some(Instruction::SetSpeed { kmh });
    }
    if has(&["停"]) {
        return Some(Instruction::Stop);
    }
    ways_chinese(&has).or_else(|| speeds_chinese(&has))
}

fn ways_chinese(has: &dyn Fn(&[&str]) -> bool) -> Option<Instruction> {
    let lane = has(&["变道", "车道", "换道", "并线", "左道", "右道", "变到", "并到", "换到", "靠左", "靠右"]);
    let side = match (has(&["左"]), has(&["右"])) {
        (true, false) => Some(Side::Left),
        (false, true) => Some(Side::Right),
        _ => None,
    };
    match side {
        Some(side) if lane => Some(Instruction::ChangeLane(side)),
        Some(Side::Left) => Some(Instruction::Turn(Turn::Left)),
        Some(Side::Right) => Some(Instruction::Turn(Turn::Right)),
        None if has(&["直行", "直走", "直着", "一直", "径直", "直接通过"]) => {
            Some(Instruction::Turn(Turn::Straight))
        }
        None => None,
    }
}

fn speeds_chinese(has: &dyn Fn(&[&str]) -> bool) -> Option<Instruction> {
    if has(&["减速", "慢", "降速", "降低速度"]) {
        return Some(Instruction::SlowDown);
    }
    if has(&["加速", "快", "提速", "提高速度"]) {
        return Some(Instruction::SpeedUp);
    }
    if has(&["目标", "目的地", "终点", "准时"]) {
        return Some(Instruction::ReachGoal);
    }
    has(&["开", "行驶", "路线", "导航", "继续", "走"]).then_some(Instruction::FollowRoute)
}

/// A number in digits or in characters up to 299 ("三十", "四十五", "一百二十").
fn number_chinese(text: &str) -> Option<u32> {
    let digits: String =
        text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    let plausible = |kmh: &u32| (3..=250).contains(kmh);
    if let Ok(number) = digits.parse::<u32>() {
        return Some(number).filter(plausible);
    }
    let value = |c: char| "零一二三四五六七八九".chars().position(|digit| digit == c).map(|v| v as u32);
    let start = text.chars().position(|c| c == '十' || c == '百')?;
    let letters: Vec<char> = text.chars().collect();
    let first = start.checked_sub(1).filter(|i| value(letters[*i]).is_some()).unwrap_or(start);
    let (mut sum, mut digit) = (0, None);
    for c in &letters[first..] {
        match (*c, value(*c)) {
            ('百', _) => sum += 100 * digit.take().unwrap_or(1),
            ('十', _) => sum += 10 * digit.take().unwrap_or(1),
            ('零', _) => {}
            (_, Some(v)) => digit = Some(v),
            _ => break,
        }
    }
    // "一百二" is a hundred and twenty.
    let rest = digit.unwrap_or(0) * if sum == 100 || sum == 200 { 10 } else { 1 };
    Some(sum + rest).filter(plausible)
}
