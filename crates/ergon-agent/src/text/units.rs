//! Units and currencies as words around a number say them, in a base unit of their dimension.

/// What is measured. Numbers of different dimensions are never the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// Metres.
    Length,
    /// Square metres.
    Area,
    /// Cubic metres.
    Volume,
    /// Kilograms.
    Mass,
    /// Seconds; not months and years, which have no fixed length.
    Duration,
    /// Months.
    Months,
    /// Metres per second.
    Speed,
    /// Kelvin.
    Temperature,
    /// Watts.
    Power,
    /// Joules.
    Energy,
    /// Bytes.
    Data,
    /// Hundredths.
    Share,
    /// Money, by its three letters; `$` without a country is `USD`.
    Money(&'static str),
}

/// A unit: `base = value * factor + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit {
    /// What it measures.
    pub dimension: Dimension,
    /// Base units in one of it.
    pub factor: f64,
    /// Base units at its zero.
    pub offset: f64,
}

type Row = (Dimension, f64, &'static [&'static str]);

/// Names in lower case as tokens joined by nothing ("km", "/", "h" is `km/h`). Letters that are also words stand only
/// where they follow a number without a space (see `glued`).
#[rustfmt::skip]
const UNITS: &[Row] = &[
    (Dimension::Length, 1000.0, &["km", "kilometer", "kilometers", "kilometre", "kilometres", "公里", "千米"]),
    (Dimension::Length, 1.0, &["m", "meter", "meters", "metre", "metres", "米"]),
    (Dimension::Length, 0.01, &["cm", "centimeter", "centimeters", "centimetre", "centimetres", "厘米"]),
    (Dimension::Length, 0.001, &["mm", "millimeter", "millimeters", "millimetre", "millimetres", "毫米"]),
    (Dimension::Length, 1609.344, &["mi", "mile", "miles", "英里"]),
    (Dimension::Length, 0.9144, &["yd", "yard", "yards"]),
    (Dimension::Length, 0.3048, &["ft", "foot", "feet", "英尺"]),
    (Dimension::Length, 0.0254, &["inch", "inches", "英寸"]),
    (Dimension::Area, 1e6, &["km2", "km²", "squarekilometers", "squarekilometres", "squarekm", "平方公里", "平方千米"]),
    (Dimension::Area, 1.0, &["m2", "m²", "squaremeters", "squaremetres", "平方米"]),
    (Dimension::Area, 2_589_988.11, &["squaremiles", "squaremile", "sqmi", "平方英里"]),
    (Dimension::Area, 0.092_903, &["squarefeet", "squarefoot", "sqft", "平方英尺"]),
    (Dimension::Area, 1e4, &["ha", "hectare", "hectares", "公顷"]),
    (Dimension::Area, 4046.856, &["acre", "acres", "英亩"]),
    (Dimension::Area, 666.667, &["亩"]),
    (Dimension::Volume, 0.001, &["litre", "litres", "liter", "liters", "升"]),
    (Dimension::Volume, 1e-6, &["ml", "millilitre", "millilitres", "milliliter", "milliliters", "毫升"]),
    (Dimension::Volume, 0.003_785_411, &["gallon", "gallons", "加仑"]),
    (Dimension::Mass, 1.0, &["kg", "kilogram", "kilograms", "kilogramme", "kilogrammes", "kilo", "kilos", "公斤", "千克"]),
    (Dimension::Mass, 0.001, &["g", "gram", "grams", "gramme", "grammes", "克"]),
    (Dimension::Mass, 1e-6, &["mg", "milligram", "milligrams", "毫克"]),
    (Dimension::Mass, 1000.0, &["tonne", "tonnes", "ton", "tons", "吨"]),
    (Dimension::Mass, 0.453_592, &["lb", "lbs", "pound", "pounds", "磅"]),
    (Dimension::Mass, 0.028_349_5, &["oz", "ounce", "ounces", "盎司"]),
    (Dimension::Mass, 0.5, &["斤"]),
    (Dimension::Duration, 1.0, &["second", "seconds", "sec", "secs", "秒", "秒钟"]),
    (Dimension::Duration, 60.0, &["min", "mins", "minute", "minutes", "分钟"]),
    (Dimension::Duration, 3600.0, &["h", "hr", "hrs", "hour", "hours", "小时", "个小时"]),
    (Dimension::Duration, 86_400.0, &["day", "days", "天"]),
    (Dimension::Duration, 604_800.0, &["week", "weeks", "周", "星期", "个星期"]),
    (Dimension::Months, 1.0, &["month", "months", "个月"]),
    (Dimension::Months, 12.0, &["year", "years", "yr", "yrs"]),
    (Dimension::Months, 120.0, &["decade", "decades"]),
    (Dimension::Months, 1200.0, &["century", "centuries"]),
    (Dimension::Speed, 1.0 / 3.6, &["km/h", "kmh", "kph", "kilometersperhour", "kilometresperhour", "公里每小时"]),
    (Dimension::Speed, 0.447_04, &["mph", "milesperhour"]),
    (Dimension::Speed, 1.0, &["m/s", "米每秒"]),
    (Dimension::Power, 1.0, &["w", "watt", "watts", "瓦"]),
    (Dimension::Power, 1e3, &["kw", "kilowatt", "kilowatts", "千瓦"]),
    (Dimension::Power, 1e6, &["mw", "megawatt", "megawatts", "兆瓦"]),
    (Dimension::Power, 1e9, &["gw", "gigawatt", "gigawatts", "吉瓦"]),
    (Dimension::Energy, 3.6e6, &["kwh", "kilowatthours", "千瓦时"]),
    (Dimension::Energy, 3.6e9, &["mwh", "megawatthours", "兆瓦时"]),
    (Dimension::Data, 1e3, &["kb", "kilobytes"]),
    (Dimension::Data, 1e6, &["mb", "megabyte", "megabytes"]),
    (Dimension::Data, 1e9, &["gb", "gigabyte", "gigabytes"]),
    (Dimension::Data, 1e12, &["tb", "terabyte", "terabytes"]),
    (Dimension::Share, 1.0, &["%", "percent", "percentage", "percentagepoints", "个百分点"]),
    (Dimension::Money("USD"), 1.0, &["$", "us$", "usd", "dollar", "dollars", "usdollars", "美元", "美金"]),
    (Dimension::Money("USD"), 0.01, &["cent", "cents", "美分"]),
    (Dimension::Money("EUR"), 1.0, &["€", "eur", "euro", "euros", "欧元"]),
    (Dimension::Money("GBP"), 1.0, &["£", "gbp", "poundssterling", "英镑"]),
    (Dimension::Money("CNY"), 1.0, &["¥", "cny", "rmb", "yuan", "renminbi", "元", "人民币", "元人民币", "块钱"]),
    (Dimension::Money("JPY"), 1.0, &["jpy", "yen", "日元", "円"]),
    (Dimension::Money("HKD"), 1.0, &["hk$", "hkd", "港元", "港币"]),
    (Dimension::Money("AUD"), 1.0, &["a$", "aud", "澳元"]),
    (Dimension::Money("CAD"), 1.0, &["c$", "cad", "加元"]),
    (Dimension::Money("INR"), 1.0, &["₹", "inr", "rupee", "rupees", "卢比"]),
];

/// Units of a letter or two that are also something else: only where they touch the number, or stand alone after it.
const LETTERS: &[&str] = &["m", "g", "h", "w", "min", "ha", "mi", "oz", "mb", "mw"];

/// The unit of this name, in lower case without spaces; `touching` tells that it stands right behind its number.
pub(super) fn unit(name: &str, touching: bool) -> Option<Unit> {
    let celsius = ["°c", "degreescelsius", "℃", "摄氏度"];
    let fahrenheit = ["°f", "degreesfahrenheit", "℉", "华氏度"];
    if celsius.contains(&name) {
        return Some(Unit { dimension: Dimension::Temperature, factor: 1.0, offset: 273.15 });
    }
    if fahrenheit.contains(&name) {
        return Some(Unit {
            dimension: Dimension::Temperature,
            factor: 5.0 / 9.0,
            offset: 459.67 * 5.0 / 9.0,
        });
    }
    if LETTERS.contains(&name) && !touching {
        return None;
    }
    let row = UNITS.iter().find(|(_, _, names)| names.contains(&name))?;
    Some(Unit { dimension: row.0, factor: row.1, offset: 0.0 })
}

/// How much a word behind a number multiplies it by: thousand, 万, and in money also the letters.
pub(super) fn magnitude(word: &str, money_or_touching: bool) -> Option<f64> {
    Some(match word {
        "hundred" | "hundreds" => 1e2,
        "thousand" | "thousands" | "千" => 1e3,
        "million" | "millions" | "mln" | "mn" => 1e6,
        "billion" | "billions" | "bn" => 1e9,
        "trillion" | "trillions" | "tn" => 1e12,
        "dozen" => 12.0,
        "百" => 1e2,
        "万" | "萬" => 1e4,
        "亿" | "億" => 1e8,
        "k" if money_or_touching => 1e3,
        _ => return None,
    })
}
