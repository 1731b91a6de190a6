//! The two marks by which the user of an A–X and those who write to X tell each other apart (product rule S), and where a long
//! text is cut.
//!
//! | who writes | what is written | who gets it | what he reads |
//! |---|---|---|---|
//! | B to X | `are you there` | A | `are you there[From+8613933334444]` |
//! | A to X | `yes@13933334444` | the number behind the last `@` | `yes` |
//!
//! The number that A reads is in global form, whatever the trunk's spelling is: so A can write it behind `@` as it stands, and
//! every trunk's rule reads it back.

use std::num::NonZeroU16;
use std::sync::Arc;

use numbering::{Kind, Number, ReadRule};
use unicode_segmentation::UnicodeSegmentation;

/// The most bytes that are looked at behind an `@`.
const LONGEST_NUMBER: usize = 64;

/// The words for A, with who wrote them.
pub(crate) fn with_sender(words: &str, sender: Number) -> Arc<str> {
    format!("{words}[From{}]", sender.reveal()).into()
}

/// The words before the mark of A, and the number that it names. `None`: it names none. Blanks behind the number belong to it,
/// those before the `@` are the words'. A full-width `＠` is one too: Chinese keyboards write it.
pub(crate) fn addressee<'a>(words: &'a str, rule: &ReadRule) -> Option<(&'a str, Number)> {
    let at = words.rfind(['@', '＠'])?;
    let (before, mark) = words.split_at(at);
    let spelling = mark.trim_start_matches(['@', '＠']).trim();
    if spelling.is_empty() || spelling.len() > LONGEST_NUMBER {
        return None;
    }
    let number = rule.read(spelling.as_bytes()).ok()?;
    // `see you @ 19` names nobody, although some rule makes a number of it.
    (!number.is_chinese() || number.kind() != Kind::Other).then_some((before, number))
}

/// A text in pieces of so many characters at most, none of them cut inside what a reader sees as one character (a grapheme
/// cluster, UAX #29), unless it alone is longer.
pub(crate) fn cut(words: &str, longest: Option<NonZeroU16>) -> Vec<Arc<str>> {
    let Some(longest) = longest.map(|longest| usize::from(longest.get())) else { return vec![words.into()] };
    let mut pieces = Vec::new();
    let (mut piece, mut length) = (String::new(), 0);
    let mut end = |piece: &mut String| pieces.push(Arc::from(std::mem::take(piece)));
    for cluster in words.graphemes(true) {
        let characters = cluster.chars().count();
        if length > 0 && length + characters > longest {
            end(&mut piece);
            length = 0;
        }
        for character in cluster.chars() {
            if length == longest {
                end(&mut piece);
                length = 0;
            }
            piece.push(character);
            length += 1;
        }
    }
    if !piece.is_empty() {
        end(&mut piece);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_names_a_number_in_every_spelling_and_nothing_else() {
        let rule = ReadRule::default();
        let b = "+8613933334444";
        for (words, expected) in [
            ("yes@13933334444", Some(("yes", b))),
            ("yes @+86 139-3333-4444 \r\n", Some(("yes ", b))),
            ("你好＠008613933334444", Some(("你好", b))),
            ("a@b.example@13933334444", Some(("a@b.example", b))),
            ("@13933334444", Some(("", b))),
            ("twice@@13933334444", Some(("twice@", b))),
            ("call@95588", Some(("call", "+8695588"))),
            ("hk@+85223456789", Some(("hk", "+85223456789"))),
            ("13933334444", None),
            ("mail me: li@example.com", None),
            ("see you @ 19", None),
            ("see you @ 1900", None),
            ("yes@", None),
            ("yes@13933334444 soon", None),
            ("", None),
        ] {
            let found = addressee(words, &rule).map(|(words, number)| (words, number.reveal().to_string()));
            assert_eq!(found.as_ref().map(|(words, number)| (*words, &**number)), expected, "{words:?}");
        }
        let long = format!("yes@{}13933334444", "-".repeat(80));
        assert_eq!(addressee(&long, &rule), None);
    }

    #[test]
    fn what_a_reads_behind_the_words_a_can_write_behind_an_at() {
        let number = Number::parse("+8613933334444").unwrap();
        let read = with_sender("好的", number);
        assert_eq!(&*read, "好的[From+8613933334444]");
        let mark = read.rsplit_once("[From").unwrap().1.trim_end_matches(']');
        assert_eq!(addressee(&format!("ok@{mark}"), &ReadRule::default()), Some(("ok", number)));
    }

    #[test]
    fn pieces_make_the_whole_and_none_is_cut_inside_a_character() {
        let at = |longest| NonZeroU16::new(longest);
        for words in ["汉".repeat(2_000), "a\u{301}👩‍👩‍👧‍👦🇨🇳\r\n".repeat(50), "x".to_owned()] {
            for longest in [1, 2, 7, 8, 70, 1_999, 2_000, 65_535] {
                let pieces = cut(&words, at(longest));
                assert_eq!(pieces.concat(), words);
                assert!(pieces.iter().all(|piece| (1..=usize::from(longest)).contains(&piece.chars().count())));
            }
        }
        assert_eq!(cut("a\u{301}b\u{301}c", at(3)), ["a\u{301}".into(), "b\u{301}c".into()] as [Arc<str>; 2]);
        assert_eq!(cut("👩‍👩‍👧‍👦", at(3)).len(), 3, "7 characters of one cluster");
        assert_eq!(cut("words", None), ["words".into()] as [Arc<str>; 1]);
    }
}
