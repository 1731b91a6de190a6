//! Names of trunks and applications: each once, and each reference to one that is there.

use std::collections::HashMap;
use std::sync::Arc;

use super::complaint::{Fault, Report, nearest};
use super::section::Section;
use super::value;

/// The names that one kind of thing has, and the places of those things.
pub(super) struct Names {
    noun: &'static str,
    /// Place, and the line that it was first said in.
    known: HashMap<Arc<str>, (usize, usize)>,
    claimed: usize,
    /// Something has no name that could be read: a reference may mean it.
    doubtful: bool,
}

impl Names {
    /// No names yet, of the things under the key `noun` of `root`.
    pub(super) fn new(noun: &'static str, root: &Section<'_>) -> Names {
        Names { noun, known: HashMap::new(), claimed: 0, doubtful: root.is_no_list(noun) }
    }

    /// Takes the `name` of the next thing. A missing, wrong or second name is complained of; the thing keeps its place.
    pub(super) fn claim(&mut self, section: &Section<'_>, report: &mut Report<'_>) -> Arc<str> {
        let place = self.claimed;
        self.claimed += 1;
        let example = format!("\"{}-1\"", self.noun);
        let name: Arc<str> = section.required("name", &example, value::name, report).unwrap_or_default().into();
        if name.is_empty() {
            self.doubtful = true;
            return name;
        }
        match self.known.get(&name) {
            Some((_, line)) => {
                let problem = format!("another {} has the name `{name}`, in line {line}", self.noun);
                section.complain("name", Fault::new(problem, "write a name of its own"), report);
            }
            None => {
                self.known.insert(Arc::clone(&name), (place, report.line(&section.span("name"))));
            }
        }
        name
    }

    /// The place of the thing that a key names.
    pub(super) fn refer(&self, section: &Section<'_>, key: &'static str, report: &mut Report<'_>) -> Option<usize> {
        let name = section.optional(key, value::text, report)?;
        if let Some((place, _)) = self.known.get(name) {
            return Some(*place);
        }
        if self.doubtful {
            return None;
        }
        let mut known: Vec<&str> = self.known.keys().map(|name| &**name).collect();
        known.sort_unstable();
        let mend = match (nearest(name, &known), known.is_empty()) {
            (Some(meant), _) => format!("did you mean \"{meant}\"?"),
            (None, true) => format!("add [[{}]] with name = \"{}\"", self.noun, name.escape_debug()),
            (None, false) => {
                let more = if known.len() > 8 { ", …" } else { "" };
                known.truncate(8);
                format!("known: {}{more}", known.join(", "))
            }
        };
        let fault = Fault::absence(format!("there is no {} {}", self.noun, value::quote(name)), mend);
        section.complain(key, fault, report);
        None
    }
}
