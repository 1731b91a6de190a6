//! Target `number`.

use numbering::{Form, MAX_DIGITS, MIN_DIGITS, Number, ReadRule, WriteRule, spellings};

use crate::input::Input;

const FORMS: [Form; 4] = [Form::Global, Form::International, Form::Prefixed00, Form::National];

/// See the [crate's](crate) table. The first bytes are the rule: country, area, prefix.
pub fn number(data: &[u8]) {
    let mut input = Input::new(data);
    let rule = ReadRule {
        country: input.pick(&[86, 86, 86, 1, 44, 852, 999]),
        area: input.pick(&[None, Some("0755"), Some("010"), Some("021")]).map(str::to_owned),
        strip: input
            .pick(&[&[][..], &["17951"], &["+86", "0"], &[""]])
            .iter()
            .map(|prefix| (*prefix).to_owned())
            .collect(),
    };
    let spelling = input.rest();
    let Ok(number) = rule.read(spelling) else { return };
    let digits = number.digits();
    let digits = digits.as_str();
    assert!((MIN_DIGITS..=MAX_DIGITS).contains(&digits.len()) && !digits.starts_with('0'));
    assert_eq!(Number::from_u64(number.as_u64()), Some(number));
    assert_eq!(Number::parse(&number.reveal().to_string()), Ok(number));
    // Only digits that stood there, or that the rule knows, stand in it.
    assert!(spelling.iter().any(u8::is_ascii_digit));
    for masked in
        [number.to_string(), format!("{number:?}"), format!("{:?}", number.reveal()), format!("{:?}", number.digits())]
    {
        assert!(!masked.contains(digits), "{masked} shows the number");
    }
    let _ = (number.kind(), number.is_fixed_line());
    let plain = ReadRule { country: rule.country, ..ReadRule::default() };
    let home = ReadRule::default();
    for form in FORMS {
        let mut out = Vec::new();
        WriteRule { form, prefix: String::new() }.write(number, &mut out);
        assert!(out.iter().all(|byte| byte.is_ascii_digit() || *byte == b'+'), "{}", out.escape_ascii());
        // A + or 00 says it all; the other forms are China's own.
        let reads_back = match form {
            Form::Global | Form::Prefixed00 => true,
            Form::International | Form::National => spellings(number).iter().any(|known| known.as_bytes() == out),
        };
        if reads_back {
            let rule = match form {
                Form::Global | Form::Prefixed00 => &plain,
                Form::International | Form::National => &home,
            };
            let mut prefixed = Vec::new();
            WriteRule { form, prefix: "17951".into() }.write(number, &mut prefixed);
            assert_eq!(prefixed.strip_prefix(b"17951"), Some(&out[..]));
            match form {
                Form::Global | Form::Prefixed00 => assert_eq!(rule.read(&out), Ok(number), "{}", out.escape_ascii()),
                Form::International | Form::National => {
                    let known = number.kind() != numbering::Kind::Other;
                    assert!(!known || rule.read(&out) == Ok(number), "{}", out.escape_ascii());
                }
            }
        }
    }
}
