//! Words that turn a sentence round: negation, opposites, amounts of things, order of roles.

use super::tokens::{Token, TokenKind};

const NEGATIONS: &[&str] = &[
    "not", "no", "never", "n't", "without", "neither", "nor", "none", "nobody", "nothing", "cannot", "fail",
    "fails", "failed", "refused", "refuses", "refuse", "denied", "denies", "deny", "lacks", "lacked",
    "unable", "hardly", "barely", "declined", "false", "falsely", "wrongly", "rejected",
];

/// Chinese negations, and words in which the same characters are none.
const HAN_NEGATIONS: &str = "不没沒未无無非勿";
const HAN_NO_NEGATION: &[&str] = &[
    "不过", "不仅", "不但", "不同", "不断", "不久", "不少", "无线", "无论", "非常", "非洲", "未来", "不超",
    "不足", "不到", "不列", "不锈", "不动", "无锡", "无人",
];

/// Whether a negation stands at a token.
pub fn is_negation(tokens: &[Token], at: usize) -> bool {
    let token = &tokens[at];
    let next = tokens.get(at + 1).map(|next| next.text.as_str()).unwrap_or_default();
    match token.kind {
        TokenKind::Word => {
            // "No. 12" and "not only" deny nothing.
            let number = token.text == "no" && matches!(next, "." | "#");
            let only = token.text == "not" && matches!(next, "only" | "just" | "least");
            (NEGATIONS.contains(&token.text.as_str()) || token.text.ends_with("n't")) && !number && !only
        }
        TokenKind::Han => {
            let pair = format!("{}{next}", token.text);
            HAN_NEGATIONS.contains(token.text.as_str()) && !HAN_NO_NEGATION.contains(&pair.as_str())
        }
        _ => false,
    }
}

/// For every token, whether a negation shortly before it in the same clause denies it.
pub fn negated(tokens: &[Token]) -> Vec<bool> {
    let mut left = 0_usize;
    let mut out = Vec::with_capacity(tokens.len());
    for (at, token) in tokens.iter().enumerate() {
        let clause = token.kind == TokenKind::Mark && !matches!(token.text.as_str(), "'" | "-" | "\"" | "`");
        if clause || matches!(token.text.as_str(), "but" | "because" | "although" | "而" | "但") {
            left = 0;
        }
        out.push(left > 0);
        left = if is_negation(tokens, at) { 6 } else { left.saturating_sub(1) };
    }
    out
}

/// Pairs of which a text that says one does not say the other; stems, or two Chinese characters.
#[rustfmt::skip]
const OPPOSITES: &[(&[&str], &[&str])] = &[
    (&["increas", "rise", "rose", "risen", "grow", "grew", "grown", "climb", "gain", "上升", "增加", "增长", "上涨", "提高", "增至"],
     &["decreas", "fall", "fell", "fallen", "declin", "drop", "shrink", "shrank", "reduc", "下降", "减少", "下跌", "降低", "降至"]),
    (&["more", "greater", "higher", "larger", "bigger", "高于", "多于", "大于", "超过"],
     &["less", "fewer", "lower", "smaller", "低于", "少于", "小于", "不到", "不足"]),
    (&["faster", "quicker"], &["slower"]),
    (&["older", "elder", "oldest", "eldest", "最老"], &["younger", "youngest"]),
    (&["highest", "largest", "biggest", "greatest", "tallest", "longest", "most", "best", "最高", "最大", "最多", "最长"],
     &["lowest", "smallest", "shortest", "fewest", "least", "worst", "最低", "最小", "最少", "最短"]),
    (&["befor", "prior", "之前", "以前"], &["after", "follow", "之后", "以后"]),
    (&["first", "earliest", "首次", "首个", "最早"], &["last", "latest", "final", "末次", "最后", "最晚"]),
    (&["win", "won", "victori", "beat", "defeat", "获胜", "胜利", "击败", "战胜"], &["lose", "lost", "loss", "失败", "落败", "输给"]),
    (&["accept", "approv", "support", "agre", "agreed", "批准", "同意", "支持", "接受", "赞成"],
     &["reject", "oppos", "refus", "veto", "disagre", "拒绝", "反对", "否决", "否认"]),
    (&["north", "northern", "北部", "以北"], &["south", "southern", "南部", "以南"]),
    (&["east", "eastern", "东部", "以东"], &["west", "western", "西部", "以西"]),
    (&["male", "men", "man", "boy", "男性"], &["femal", "women", "woman", "girl", "女性"]),
    (&["open", "opened", "开放", "开业", "开幕"], &["close", "closur", "shut", "关闭", "停业", "闭幕"]),
    (&["begin", "began", "start", "开始"], &["end", "finish", "ceas", "结束", "停止"]),
    (&["includ", "包括"], &["exclud", "except", "除外"]),
    (&["buy", "bought", "purchas", "购买", "买入"], &["sell", "sold", "出售", "卖出"]),
    (&["alway", "always", "总是"], &["never", "rare", "从不", "很少"]),
    (&["above", "以上"], &["below", "under", "以下"]),
    (&["public", "公立", "公开"], &["privat", "私立"]),
    (&["left", "左侧"], &["right", "右侧"]),
    (&["legal", "合法"], &["illeg", "illegal", "非法"]),
    (&["success", "success", "成功"], &["failur", "unsuccess", "失败"]),
    (&["join", "加入"], &["leav", "left", "quit", "离开", "退出"]),
    (&["posit", "阳性"], &["negat", "阴性"]),
    (&["safe", "安全"], &["danger", "unsaf", "危险"]),
    (&["guilti", "convict", "有罪"], &["innoc", "acquit", "无罪"]),
    (&["earlier", "早于"], &["later", "晚于"]),
    (&["import", "进口"], &["export", "出口"]),
    (&["profit", "盈利"], &["loss", "亏损"]),
    (&["upstream", "上游"], &["downstream", "下游"]),
    (&["born", "出生"], &["die", "died", "dead", "去世", "逝世"]),
    (&["winter", "冬季"], &["summer", "夏季"]),
    (&["day", "白天"], &["night", "夜间"]),
    (&["strengthen", "加强"], &["weaken", "削弱"]),
    (&["hire", "employ", "聘用"], &["fire", "dismiss", "解雇"]),
    (&["expand", "扩大"], &["contract", "缩小"]),
    (&["son", "儿子"], &["daughter", "女儿"]),
    (&["brother"], &["sister"]),
    (&["mother", "母亲"], &["father", "父亲"]),
    (&["husband", "丈夫"], &["wife", "妻子"]),
    (&["king", "国王"], &["queen", "女王"]),
    (&["allow", "permit", "允许"], &["forbid", "forbad", "ban", "prohibit", "禁止"]),
];

/// Words that are the opposite of one, as stems; empty for most words. A row's two sides may share a word ("left"), so all
/// rows are asked.
pub fn opposites(stem: &str) -> impl Iterator<Item = &'static str> {
    OPPOSITES.iter().flat_map(move |(one, other)| {
        let of_one: &[&str] = if one.contains(&stem) { other } else { &[] };
        let of_other: &[&str] = if other.contains(&stem) { one } else { &[] };
        of_one.iter().chain(of_other).copied()
    })
}

/// How much of a thing a word speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Amount {
    /// None of it.
    None,
    /// A little of it.
    Few,
    /// A part of it.
    Some,
    /// More than half of it.
    Most,
    /// Everything.
    All,
}

const AMOUNTS: &[(&str, Amount)] = &[
    ("none", Amount::None),
    ("few", Amount::Few),
    ("several", Amount::Some),
    ("some", Amount::Some),
    ("part", Amount::Some),
    ("partly", Amount::Some),
    ("partially", Amount::Some),
    ("half", Amount::Some),
    ("many", Amount::Some),
    ("most", Amount::Most),
    ("majority", Amount::Most),
    ("mostly", Amount::Most),
    ("all", Amount::All),
    ("every", Amount::All),
    ("entire", Amount::All),
    ("entirely", Amount::All),
    ("whole", Amount::All),
    ("fully", Amount::All),
    ("completely", Amount::All),
    ("only", Amount::All),
    ("exclusively", Amount::All),
    ("少数", Amount::Few),
    ("部分", Amount::Some),
    ("一些", Amount::Some),
    ("许多", Amount::Some),
    ("一半", Amount::Some),
    ("大多", Amount::Most),
    ("多数", Amount::Most),
    ("全部", Amount::All),
    ("所有", Amount::All),
    ("完全", Amount::All),
    ("每个", Amount::All),
    ("只有", Amount::All),
];

/// The amounts that a text speaks of, with the token after each: what they are said of begins there.
pub fn amounts(tokens: &[Token]) -> Vec<(Amount, usize)> {
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let pair = || {
            let next = tokens.get(at + 1).map(|next| next.text.as_str()).unwrap_or_default();
            format!("{}{next}", tokens[at].text)
        };
        let (name, length) = match tokens[at].kind {
            TokenKind::Word => (tokens[at].text.clone(), 1),
            TokenKind::Han => (pair(), 2),
            _ => continue,
        };
        found
            .extend(AMOUNTS.iter().find(|(word, _)| *word == name).map(|(_, amount)| (*amount, at + length)));
    }
    found
}

/// Verbs and words between two names whose order says nothing.
pub const SYMMETRIC: &[&str] = &[
    "and", "or", "with", "marri", "met", "meet", "between", "versus", "vs", "sibl", "partner", "和", "与",
    "及", "跟", "同", "结婚",
];

/// Whether the words around a verb at a token turn its roles round: "was bitten by", 被.
pub fn is_passive(tokens: &[Token], verb: usize) -> bool {
    let from = verb.saturating_sub(4);
    let before = tokens[from..verb].iter().any(|token| {
        matches!(
            token.text.as_str(),
            "was" | "were" | "is" | "are" | "been" | "being" | "be" | "被" | "由" | "遭" | "受"
        )
    });
    let han = tokens[verb].kind == TokenKind::Han;
    let by = tokens.iter().skip(verb + 1).take(3).any(|token| token.text == "by");
    // "the company, founded by Anna": the auxiliary is left out.
    if han { before } else { by }
}
