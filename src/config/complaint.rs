//! What is wrong with a configuration, where, and how to mend it.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Complaints that are kept; the rest are only counted, since nobody reads the two thousandth.
pub(super) const KEPT: usize = 1_000;

/// One mistake of the operator's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Complaint {
    /// The file as it was named to us.
    pub file: Arc<Path>,
    /// Line, from 1; 0 when the mistake is not in a line (the file cannot be read).
    pub line: usize,
    /// Column in characters, from 1; 0 likewise.
    pub column: usize,
    /// Full dotted path, places in a list from 0: `trunk[1].targets[0]`. Empty when no key is meant.
    pub key: String,
    /// What is wrong, with the words of the file.
    pub problem: String,
    /// What to write instead.
    pub mend: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {} — {}", self.problem, self.mend)
    }
}

/// What a reader of one value says; the place is added by whoever knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    pub(super) problem: String,
    pub(super) mend: String,
    /// Something is missed that a syntax error may have swallowed.
    absence: bool,
}

impl Fault {
    pub(super) fn new(problem: impl Into<String>, mend: impl Into<String>) -> Fault {
        Fault { problem: problem.into(), mend: mend.into(), absence: false }
    }

    /// Something that should stand elsewhere in the file does not. Not said of a file with syntax errors: it may stand
    /// there, in a part that could not be read.
    pub(super) fn absence(problem: impl Into<String>, mend: impl Into<String>) -> Fault {
        Fault { absence: true, ..Fault::new(problem, mend) }
    }
}

/// Where a key stands in the file, as a list from the leaf to the root: nothing is written until someone complains.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyPath<'p> {
    parent: Option<&'p KeyPath<'p>>,
    key: &'p str,
    place: Option<usize>,
}

impl<'p> KeyPath<'p> {
    pub(super) const ROOT: KeyPath<'static> = KeyPath { parent: None, key: "", place: None };

    pub(super) fn key<'c>(&'c self, key: &'c str) -> KeyPath<'c> {
        KeyPath { parent: Some(self), key, place: None }
    }

    pub(super) fn element<'c>(&'c self, key: &'c str, place: usize) -> KeyPath<'c> {
        KeyPath { parent: Some(self), key, place: Some(place) }
    }

    /// Its place, of what stands in a list.
    pub(super) fn place(&self) -> Option<usize> {
        self.place
    }
}

impl fmt::Display for KeyPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            write!(f, "{parent}")?;
            if parent.parent.is_some() {
                f.write_str(".")?;
            }
        }
        f.write_str(self.key)?;
        match self.place {
            Some(place) => write!(f, "[{place}]"),
            None => Ok(()),
        }
    }
}

/// Gathers complaints and turns byte offsets into lines and columns.
pub(super) struct Report<'t> {
    file: Arc<Path>,
    text: &'t str,
    /// Where each line begins.
    lines: Vec<usize>,
    /// Lines that could not be read: what is said of their values would be noise.
    broken: BTreeSet<usize>,
    complaints: Vec<Complaint>,
    unsaid: usize,
}

impl<'t> Report<'t> {
    pub(super) fn new(file: &Path, text: &'t str) -> Report<'t> {
        let mut lines = vec![0];
        lines.extend(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1));
        Report { file: file.into(), text, lines, broken: BTreeSet::new(), complaints: Vec::new(), unsaid: 0 }
    }

    /// Adds a mistake in the writing itself.
    pub(super) fn add_syntax(&mut self, span: &Range<usize>, fault: Fault) {
        let (line, _) = self.position(span.start);
        // One slip makes the reader stumble more than once; the first word is the true one.
        if self.broken.insert(line) {
            self.push(span, String::new(), fault);
        }
    }

    /// Adds a mistake in a value.
    pub(super) fn add(&mut self, span: &Range<usize>, key: KeyPath<'_>, fault: Fault) {
        if !self.broken.is_empty() {
            let swallowed = fault.absence || *span == (0..0);
            if swallowed || self.broken.contains(&self.position(span.start).0) {
                return;
            }
        }
        self.push(span, key.to_string(), fault);
    }

    /// The line of a byte, for "first in line 12".
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        self.position(span.start).0
    }

    /// All that was said, in the order of the file.
    pub(super) fn into_complaints(mut self) -> Vec<Complaint> {
        self.complaints.sort_by_key(|complaint| (complaint.line, complaint.column));
        if self.unsaid > 0 {
            self.complaints.push(Complaint {
                file: self.file,
                line: 0,
                column: 0,
                key: String::new(),
                problem: format!("{} more mistakes", self.unsaid),
                mend: "mend these first".to_owned(),
            });
        }
        self.complaints
    }

    pub(super) fn is_empty(&self) -> bool {
        self.complaints.is_empty()
    }

    fn push(&mut self, span: &Range<usize>, key: String, fault: Fault) {
        if self.complaints.len() >= KEPT {
            self.unsaid += 1;
            return;
        }
        let (line, column) = self.position(span.start);
        self.complaints.push(Complaint {
            file: Arc::clone(&self.file),
            line,
            column,
            key,
            problem: fault.problem,
            mend: fault.mend,
        });
    }

    fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines[line - 1];
        let before = self.text.get(start..offset.min(self.text.len())).unwrap_or("");
        (line, before.chars().count() + 1)
    }
}

/// The known word that was probably meant.
pub(super) fn nearest<'w>(word: &str, known: &[&'w str]) -> Option<&'w str> {
    if word.chars().count() > 64 {
        return None;
    }
    let bound = 1 + word.chars().count() / 4;
    known
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(distance, _)| *distance <= bound)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, with two neighbours in the wrong order as one slip; `-` for `_` and capitals are none.
fn distance(a: &str, b: &str) -> usize {
    let fold = |text: &str| -> Vec<char> {
        text.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
    };
    let (a, b) = (fold(a), fold(b));
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let differs = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + differs);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_reads_file_line_key_problem_and_mend() {
        let complaint = Complaint {
            file: Path::new("etc/axbridge.toml").into(),
            line: 41,
            column: 12,
            key: "trunk[1].targets[0]".to_owned(),
            problem: "`upd:1.2.3.4:5060` is no target".to_owned(),
            mend: "write udp:ADDRESS:PORT or tcp:ADDRESS:PORT".to_owned(),
        };
        assert_eq!(
            complaint.to_string(),
            "etc/axbridge.toml:41: trunk[1].targets[0]: `upd:1.2.3.4:5060` is no target — write udp:ADDRESS:PORT or \
             tcp:ADDRESS:PORT"
        );
    }

    #[test]
    fn a_position_counts_lines_and_characters_from_one() {
        let report = Report::new(Path::new("x"), "ab\n号码x\n\nend");
        assert_eq!(report.position(0), (1, 1));
        assert_eq!(report.position(2), (1, 3));
        assert_eq!(report.position(3), (2, 1));
        assert_eq!(report.position(9), (2, 3));
        assert_eq!(report.position(11), (3, 1));
        assert_eq!(report.position(12), (4, 1));
        assert_eq!(report.position(15), (4, 4));
        assert_eq!(report.position(99), (4, 4));
        // Between the bytes of a character: no panic.
        assert_eq!(report.position(4), (2, 1));
        assert_eq!(Report::new(Path::new("x"), "").position(0), (1, 1));
    }

    #[test]
    fn a_path_is_written_from_the_root() {
        let root = KeyPath::ROOT;
        let trunk = root.element("trunk", 1);
        let read = trunk.key("read");
        assert_eq!(read.element("strip", 0).to_string(), "trunk[1].read.strip[0]");
        assert_eq!(root.key("sip").to_string(), "sip");
        assert_eq!(root.to_string(), "");
    }

    #[test]
    fn the_word_that_was_meant_is_found_and_no_other() {
        let known = ["listen", "advertised", "max_calls", "retry_after", "t1"];
        assert_eq!(nearest("lisen", &known), Some("listen"));
        assert_eq!(nearest("listne", &known), Some("listen"));
        assert_eq!(nearest("max-calls", &known), Some("max_calls"));
        assert_eq!(nearest("Retry_After", &known), Some("retry_after"));
        assert_eq!(nearest("advertized", &known), Some("advertised"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest("", &known), None);
        assert_eq!(nearest(&"x".repeat(100_000), &known), None);
    }

    #[test]
    fn complaints_come_in_the_order_of_the_file_and_no_more_than_are_read() {
        let text = "\n".repeat(5_000);
        let mut report = Report::new(Path::new("x"), &text);
        for line in (0..1_500).rev() {
            report.add(&(line..line), KeyPath::ROOT, Fault::new("p", "m"));
        }
        let complaints = report.into_complaints();
        assert_eq!(complaints.len(), KEPT + 1);
        assert!(complaints.windows(2).take(KEPT - 1).all(|pair| pair[0].line < pair[1].line));
        assert_eq!(complaints[KEPT].to_string(), "x: 500 more mistakes — mend these first");
    }

    #[test]
    fn a_line_that_cannot_be_read_is_complained_of_once() {
        let mut report = Report::new(Path::new("x"), "a\nb\nc\n");
        report.add_syntax(&(2..3), Fault::new("first", "m"));
        report.add_syntax(&(2..3), Fault::new("second", "m"));
        report.add(&(2..3), KeyPath::ROOT, Fault::new("its value", "m"));
        report.add(&(0..1), KeyPath::ROOT, Fault::absence("perhaps it stood in line 2", "m"));
        report.add(&(4..5), KeyPath::ROOT, Fault::new("another line", "m"));
        let problems: Vec<String> = report.into_complaints().into_iter().map(|complaint| complaint.problem).collect();
        assert_eq!(problems, ["first", "another line"]);
    }
}
