use b2bua::settings::{App};
use numbering::*;
use super::complaint::Report; use super::section::Section; use crate::prompts::Library; use super::app::Apps; use super::trunk::Trunks;
pub(super) const NUMBER:&[&str]=&["x","app","trunk"];
pub(super) const BINDING:&[&str]=&["x","a","b","direction","max_minutes","record","record_hint_tone","caller_hint_tone","callee_hint_tone","last_minute_prompt","user_data","id"];
pub(super) struct Numbers { pub(super) numbers: Vec<VirtualNumber> }
pub(super) fn read_rule(_:Option<&Section<'_>>,_:&mut Report<'_>)->ReadRule{ReadRule}
pub(super) fn write_rule(_:Option<&Section<'_>>,_:&mut Report<'_>)->WriteRule{WriteRule}
pub(super) fn numbers(root:&Section<'_>,_:&Trunks,_:&Apps,report:&mut Report<'_>)->Numbers{ root.sections("number",NUMBER,report); Numbers{numbers:vec![]}}
pub(super) fn bindings(root:&Section<'_>,_:&Numbers,_:&mut Apps,_:&mut Library,report:&mut Report<'_>)->Vec<Binding>{ root.sections("binding",BINDING,report); vec![]}
