//! Files and functions stay small enough to read in one sitting: a file of 2 000 lines is never read as a whole, and a
//! function that does not fit on a screen hides its own ending.

use std::fmt;

use super::Finding;
use super::source::Source;

const MAX_FILE_LINES: usize = 600;
const MAX_FUNCTION_LINES: usize = 70;
const MAX_FUNCTION_P90_LINES: usize = 35;

/// Sizes of the code that is not test.
pub(crate) struct Figures {
    files: usize,
    median_file_lines: usize,
    longest_file: Option<(usize, String)>,
    functions: usize,
    p90_function_lines: usize,
    longest_function: Option<(usize, String)>,
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |longest: &Option<(usize, String)>| {
            longest.clone().map_or(String::new(), |(n, at)| format!("{n} ({at})"))
        };
        write!(
            out,
            "{} files, median {} lines, longest {}; ",
            self.files,
            self.median_file_lines,
            show(&self.longest_file)
        )?;
        write!(out, "{} functions, p90 {} lines, ", self.functions, self.p90_function_lines)?;
        write!(out, "longest {}", show(&self.longest_function))
    }
}

/// Measures everything that is neither test nor table.
pub(crate) fn figures(sources: &[Source]) -> Figures {
    let counted = || sources.iter().filter(|source| !source.is_test && !source.is_table);
    let mut files: Vec<_> = counted().map(|source| (source.product_lines(), source.path.clone())).collect();
    let mut functions: Vec<_> = counted()
        .flat_map(|source| {
            source
                .product_functions()
                .into_iter()
                .map(|f| (f.lines, format!("{} in {}", f.name, source.path)))
        })
        .collect();
    files.sort();
    functions.sort();
    Figures {
        files: files.len(),
        median_file_lines: percentile(&files, 50),
        longest_file: files.last().cloned(),
        functions: functions.len(),
        p90_function_lines: percentile(&functions, 90),
        longest_function: functions.last().cloned(),
    }
}

/// Nearest-rank percentile of the sizes, which are sorted; 0 of none.
fn percentile(sorted: &[(usize, String)], percent: usize) -> usize {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map_or(0, |(lines, _)| *lines)
}

/// Files and functions over their limits.
pub(crate) fn check(sources: &[Source], figures: &Figures) -> Vec<Finding> {
    let mut findings: Vec<_> = sources.iter().flat_map(long_functions).collect();
    findings.extend(sources.iter().filter_map(long_file));
    if figures.p90_function_lines > MAX_FUNCTION_P90_LINES {
        let what = format!("one function in ten is {} lines or longer", figures.p90_function_lines);
        let fix = format!("split long ones until the 90th percentile is {MAX_FUNCTION_P90_LINES}");
        findings.push(Finding::new("crates", 1, what, fix));
    }
    findings
}

fn long_file(source: &Source) -> Option<Finding> {
    let lines = source.product_lines();
    (lines > MAX_FILE_LINES && !source.is_table).then(|| {
        let fix =
            "split it by what its parts are about (a file of plain data says `// tidy: table (why)` on top)";
        Finding::new(&source.path, 1, format!("{lines} lines without tests, {MAX_FILE_LINES} allowed"), fix)
    })
}

fn long_functions(source: &Source) -> Vec<Finding> {
    let long = source.product_functions().into_iter().filter(|function| function.lines > MAX_FUNCTION_LINES);
    long.map(|function| {
        let what = format!("fn {} has {} lines, {MAX_FUNCTION_LINES} allowed", function.name, function.lines);
        Finding::new(&source.path, function.line, what, "give its steps names of their own")
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<Finding> {
        let sources = [Source::new(path, text)];
        check(&sources, &figures(&sources))
    }

    fn function_of(lines: usize) -> String {
        format!("fn f() {{\n{}}}\n", "    x();\n".repeat(lines - 2))
    }

    #[test]
    fn a_file_over_600_lines_is_found_unless_test_or_table() {
        let long = "// x\n".repeat(601);
        assert_eq!(findings("a.rs", &long).len(), 1);
        assert_eq!(findings("a.rs", &"// x\n".repeat(600)), []);
        assert_eq!(findings("crates/a/tests/a.rs", &long), []);
        assert_eq!(findings("a.rs", &format!("// tidy: table (codes)\n{long}")), []);
        let with_tests = format!("fn a() {{}}\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
        assert_eq!(findings("a.rs", &with_tests), []);
    }

    #[test]
    fn a_function_over_70_lines_is_found_where_it_begins() {
        let short = "fn s() {}\n".repeat(20);
        let found = findings("a.rs", &format!("{short}{}", function_of(71)));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].line, found[0].path.as_str()), (21, "a.rs"));
        assert_eq!(findings("a.rs", &format!("{short}{}", function_of(70))), []);
    }

    #[test]
    fn the_ninetieth_percentile_is_held() {
        let short = "fn s() {}\n".repeat(8);
        let long = function_of(36);
        assert_eq!(findings("a.rs", &format!("{short}{long}{long}")).len(), 1);
        assert_eq!(findings("a.rs", &format!("{short}{short}{long}")), []);
    }
}
