//! Broken and absurd files: each is refused with what is wrong, where, and what to do; nothing panics.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use ergon_world::commonroad::{CommonRoadError, OBSTACLES_MAX, read};

const OLD: &str = include_str!("../../../vectors/commonroad/ours-2018b.xml");
const NEW: &str = include_str!("../../../vectors/commonroad/ours-2020a.xml");

/// The error for the 2018b file with a piece of text, which must be there, replaced once.
fn broken(from: &str, to: &str) -> CommonRoadError {
    let xml = [OLD, NEW].into_iter().find(|xml| xml.contains(from)).unwrap_or_else(|| panic!("no {from:?}"));
    read(&xml.replacen(from, to, 1)).expect_err(to)
}

/// The error says this; every one must say where it is.
fn says(error: &CommonRoadError, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    assert!(text.contains("line ") && text.contains("; "), "where and what to do is missing: {text}");
}

/// Text between two markers, markers included.
fn piece<'t>(text: &'t str, from: &str, to: &str) -> &'t str {
    let start = text.find(from).unwrap();
    let end = start + text[start..].find(to).unwrap() + to.len();
    &text[start..end]
}

#[test]
fn no_problem_no_road_no_scenario() {
    let problem = piece(OLD, "<planningProblem", "</planningProblem>");
    assert_eq!(broken(problem, ""), CommonRoadError::NoProblem);
    let start = OLD.find("<lanelet id").unwrap();
    let end = OLD.rfind("</lanelet>").unwrap() + "</lanelet>".len();
    let without_road = [&OLD[..start], &OLD[end..]].concat();
    assert_eq!(read(&without_road), Err(CommonRoadError::NoRoad));
    assert!(matches!(read("<svg/>"), Err(CommonRoadError::NotCommonRoad { found }) if found == "svg"));
    assert!(matches!(broken("2018b", "2017a"), CommonRoadError::Version { found } if found == "2017a"));
    let goals = &problem[problem.find("<goalState").unwrap()..problem.rfind("</planningProblem>").unwrap()];
    says(&broken(goals, ""), &["planningProblem 40", "`goalState` is missing"]);
}

#[test]
fn truncated_at_any_byte() {
    for xml in [OLD, NEW] {
        for end in (0..xml.len()).step_by(211) {
            assert!(matches!(read(&xml[..end]), Err(CommonRoadError::Syntax { .. })), "cut at {end}");
        }
    }
}

#[test]
fn numbers_that_are_none() {
    for word in ["NaN", "inf", "-inf", "1e999", "", "12,5", "0x10"] {
        let error = broken("<x>60.0</x>", &format!("<x>{word}</x>"));
        assert!(matches!(error, CommonRoadError::NotANumber { .. }), "{word}: {error}");
        says(&error, &["obstacle 10 > initialState > position > point > x", "not a finite number"]);
    }
    says(
        &broken("<velocity><exact>11.0", "<velocity><exact>1e6"),
        &["planningProblem 40", "1000000 is absurd"],
    );
    says(&broken("<x>3.0</x>", "<x>3e300</x>"), &["planningProblem 40", "absurd"]);
    says(&broken("<length>4.6</length>", "<length>-4.6</length>"), &["obstacle 20", "-4.6 is absurd"]);
    says(&broken("<radius>0.6</radius>", "<radius>0</radius>"), &["obstacle 11"]);
    says(&broken("<speedLimit>13.9", "<speedLimit>-1"), &["lanelet 1 > speedLimit"]);
    says(&broken("id=\"20\"", "id=\"-20\""), &["obstacle -20"]);
    says(&broken("id=\"20\"", "id=\"twenty\""), &["twenty"]);
}

#[test]
fn time_steps() {
    for step in ["0", "NaN", "-0.1", "1e-9", "1000"] {
        says(&broken("timeStepSize=\"0.1\"", &format!("timeStepSize=\"{step}\"")), &["commonRoad"]);
    }
    says(&broken("timeStepSize=\"0.1\"", ""), &["`timeStepSize` is missing"]);
    let goal = "<intervalStart>35</intervalStart>\n<intervalEnd>45</intervalEnd>";
    says(
        &broken(goal, "<intervalStart>45</intervalStart><intervalEnd>35</intervalEnd>"),
        &["goalState > time", "ends (35)"],
    );
    says(
        &broken(goal, "<intervalStart>-9</intervalStart><intervalEnd>-1</intervalEnd>"),
        &["by step -1, before the start"],
    );
    says(&broken(goal, "<intervalStart>1</intervalStart><intervalEnd>1e12</intervalEnd>"), &["absurd"]);
    says(&broken(goal, "<intervalStart>1</intervalStart>"), &["`intervalEnd` is missing"]);
    let second = "<time><exact>1</exact>";
    says(
        &broken(second, "<time><exact>800000</exact>"),
        &["obstacle 20 > trajectory > state", "800000 follows 0"],
    );
    says(&broken(second, "<time><exact>-3</exact>"), &["-3 follows 0"]);
    says(&broken(second, "<time><exact>1.5</exact>"), &["1.5"]);
}

#[test]
fn references() {
    says(&broken("successor ref=\"4\"", "successor ref=\"99\""), &["lanelet 1 > successor", "no lanelet 99"]);
    says(&broken("adjacentLeft ref=\"2\"", "adjacentLeft ref=\"77\""), &["no lanelet 77"]);
    says(
        &broken("adjacentLeft ref=\"2\"", "adjacentLeft"),
        &["lanelet 1 > adjacentLeft", "`ref` is missing"],
    );
    says(&broken("adjacentLeft ref=\"2\"", "adjacentLeft ref=\"1\""), &["refers to itself"]);
    says(&broken("drivingDir=\"same\"", ""), &["`drivingDir` is missing"]);
    says(&broken("drivingDir=\"same\"", "drivingDir=\"up\""), &["`up` is not one of same, opposite"]);
    says(
        &broken("<lanelet ref=\"4\"/>", "<lanelet ref=\"5\"/>"),
        &["goalState > position > lanelet", "no lanelet 5"],
    );
    says(&broken("<lanelet id=\"2\">", "<lanelet id=\"1\">"), &["the id 1 is already taken"]);
    says(&broken("<lanelet id=\"2\">", "<lanelet>"), &["`id` is missing"]);
    says(&broken("<obstacle id=\"11\">", "<obstacle id=\"10\">"), &["the id 10 is already taken"]);
    says(&broken("<role>static", "<role>magic"), &["obstacle 10 > role", "magic"]);
    says(&broken("<color>green", "<color>blue"), &["trafficLight 110", "blue"]);
}

#[test]
fn bounds_that_are_no_lines() {
    let bound = piece(OLD, "<leftBound>", "</leftBound>");
    for inside in ["", "<point><x>1</x><y>1</y></point>", &"<point><x>1</x><y>1</y></point>".repeat(9)] {
        let error = broken(bound, &format!("<leftBound>{inside}</leftBound>"));
        says(&error, &["lanelet 1 > leftBound", "fewer than two different points"]);
    }
    says(&broken(bound, ""), &["lanelet 1", "`leftBound` is missing"]);
    // Bounds that run against each other: all of the middle is one point.
    let crossed = |side, from: [f64; 2], to: [f64; 2]| {
        let point = |[x, y]: [f64; 2]| format!("<point><x>{x}</x><y>{y}</y></point>");
        format!("<{side}>{}{}</{side}>", point(from), point(to))
    };
    let right = piece(OLD, "<rightBound>", "</rightBound>");
    let xml = OLD.replacen(bound, &crossed("leftBound", [0.0, 0.0], [4.0, 0.0]), 1);
    let xml = xml.replacen(right, &crossed("rightBound", [4.0, -2.0], [0.0, -2.0]), 1);
    says(&read(&xml).unwrap_err(), &["lanelet 1", "cross over"]);
}

#[test]
fn too_many_obstacles() {
    let copies = |n: usize| {
        let place = OLD.find("<planningProblem").unwrap();
        let mut xml = OLD[..place].to_owned();
        for i in 0..n {
            xml.push_str(&format!("<obstacle id=\"{}\"/>", 1000 + i));
        }
        xml + &OLD[place..]
    };
    let error = read(&copies(10_000)).unwrap_err();
    assert_eq!(error, CommonRoadError::TooMany { what: "obstacles", found: 10_006, limit: OBSTACLES_MAX });
    assert!(error.to_string().contains("10006 obstacles, at most 5000"));
    // Below the limit the complaint is about the obstacle.
    says(&read(&copies(10)).unwrap_err(), &["obstacle 1000", "`role` is missing"]);
}

/// Entities that grow, and depth that would overflow a stack.
#[test]
fn xml_bombs() {
    let entity = "<!DOCTYPE a [<!ENTITY b \"bbbbbbbbbb\"><!ENTITY c \"&b;&b;&b;&b;\">]>";
    let bomb = OLD.replacen("?>", &format!("?>{entity}"), 1);
    assert!(matches!(read(&bomb), Err(CommonRoadError::Syntax { .. })));
    let deep = 200_000;
    let nested = format!("{}{}", "<commonRoad>".repeat(deep), "</commonRoad>".repeat(deep));
    assert!(read(&nested).is_err());
}

/// Any one line taken out or doubled: an error or a scenario, never a panic.
#[test]
fn lines_lost_and_doubled() {
    for xml in [OLD, NEW] {
        let lines: Vec<&str> = xml.lines().collect();
        let (mut good, mut bad) = (0, 0);
        for i in (0..lines.len()).step_by(7) {
            for copies in [0, 2] {
                let mut changed: Vec<&str> = lines[..i].to_vec();
                changed.extend(std::iter::repeat_n(lines[i], copies));
                changed.extend(&lines[i + 1..]);
                match read(&changed.join("\n")) {
                    Ok(_) => good += 1,
                    Err(_) => bad += 1,
                }
            }
        }
        assert!(good > 0 && bad > 0, "{good} {bad}");
    }
}
