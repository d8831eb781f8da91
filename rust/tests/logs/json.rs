//! The scan of JSON.

use std::borrow::Cow;

use proptest::collection::vec;
use proptest::prelude::*;
use pyplugin_rust::hclog::json::{Malformed, Skipped, Text, Token, Tokens, to_float};

use crate::texts::{cases, escape, json, mutated, reference, value};

const ENTRY: &[u8] = br#"{"@level":"info","@message":"request served","@module":"plugin.http","@timestamp":"2026-11-23T09:26:30.123456Z","method":"GET","path":"/api/v1/items/4711","status":200,"ratio":0.25,"cached":false,"peer":null,"tags":["a","b"],"size":{"in":1,"out":-2e3}}"#;

// The tokens, and whether the text was complete with them.
fn tokens(bytes: &[u8]) -> (Vec<Token<'_>>, bool) {
    let mut tokens = Tokens::new(bytes);
    let mut found = Vec::new();
    loop {
        match tokens.next() {
            Ok(Some(token)) => found.push(token),
            Ok(None) => return (found, true),
            Err(Malformed) => return (found, false),
        }
    }
}

fn is_json(bytes: &[u8]) -> bool {
    tokens(bytes).1
}

// The same by its members.
fn is_flat_object(bytes: &[u8]) -> bool {
    let mut tokens = Tokens::new(bytes);
    if tokens.next() != Ok(Some(Token::ObjectStart)) {
        return false;
    }
    loop {
        match tokens.next_member() {
            Ok(Some(_)) if tokens.skip_value().is_ok() => {}
            Ok(None) => return tokens.next() == Ok(None),
            Ok(Some(_)) | Err(Malformed) => return false,
        }
    }
}

fn key(raw: &str) -> Token<'_> {
    Token::Key(Text::plain(raw.as_bytes()))
}

fn string(raw: &str) -> Token<'_> {
    Token::String(Text::plain(raw.as_bytes()))
}

fn number(raw: &str) -> Token<'_> {
    Token::Number(raw.as_bytes())
}

// The same text in the three ways that the scan knows: short, with a control character somewhere, and
// long.
fn disguises(text: &[u8]) -> [Vec<u8>; 3] {
    [text.to_vec(), [text, b"\t"].concat(), [text, &[b' '; 1024]].concat()]
}

#[test]
fn every_kind_of_token_is_told() {
    use Token::{ArrayEnd, ArrayStart, Bool, Null, ObjectEnd, ObjectStart};
    let text = br#"{"a":"b","c":[1,-2.5e3,true,false,null,[],{}],"d":{"e":"x\ny","":""}}"#;
    let expected = vec![
        ObjectStart,
        key("a"),
        string("b"),
        key("c"),
        ArrayStart,
        number("1"),
        number("-2.5e3"),
        Bool(true),
        Bool(false),
        Null,
        ArrayStart,
        ArrayEnd,
        ObjectStart,
        ObjectEnd,
        ArrayEnd,
        key("d"),
        ObjectStart,
        key("e"),
        Token::String(Text::new(br"x\ny", true)),
        key(""),
        string(""),
        ObjectEnd,
        ObjectEnd,
    ];
    assert_eq!(tokens(text), (expected, true));
}

#[test]
fn a_scalar_is_a_text() {
    for (text, token) in [
        (r#""abc""#, string("abc")),
        ("123", number("123")),
        ("-0", number("-0")),
        ("true", Token::Bool(true)),
        ("false", Token::Bool(false)),
        ("null", Token::Null),
    ] {
        assert_eq!(tokens(text.as_bytes()), (vec![token], true));
        let spaced = format!(" \t\r\n{text} \t\r\n");
        assert_eq!(tokens(spaced.as_bytes()), (vec![token], true));
    }
}

#[test]
fn space_may_stand_between_all_tokens() {
    let text =
        " \t\r\n{ \t\r\n\"a\" \t\r\n: \t\r\n[ \t\r\n1 \t\r\n, \t\r\n\"b\" \t\r\n] \t\r\n} \t\r\n";
    assert_eq!(tokens(text.as_bytes()), tokens(br#"{"a":[1,"b"]}"#));
}

#[test]
fn depth_and_position_are_those_of_the_next_token() {
    let mut tokens = Tokens::new(br#"{"a": [1], "b": "c"}"#);
    let mut seen = vec![(tokens.depth(), tokens.position(), tokens.is_at_string())];
    while let Ok(Some(_)) = tokens.next() {
        seen.push((tokens.depth(), tokens.position(), tokens.is_at_string()));
    }
    let expected = [
        (0, 0, false),
        (1, 1, true),
        (1, 5, false),
        (2, 7, false),
        (2, 8, false),
        (1, 9, false),
        (1, 15, true),
        (1, 19, false),
        (0, 20, false),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn what_go_refuses_is_malformed() {
    for text in [
        "",
        " ",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        r#"""#,
        r#"{"a""#,
        r#"{"a":"#,
        r#"{"a":1"#,
        r#"{"a":1,"#,
        r#"{"a":1,}"#,
        r#"{,"a":1}"#,
        r#"{"a":1,,"b":2}"#,
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a"::1}"#,
        r#"{"a" 1}"#,
        r#"{"a":1 "b":2}"#,
        r#"{"a":1]"#,
        r#"{"a":1} x"#,
        "{\"a\":1}\0",
        r#"{"a":1}{"b":2}"#,
        r#"{"a":1/*x*/}"#,
        "{a:1}",
        "{1:1}",
        "{null:1}",
        "{[]:1}",
        "{'a':1}",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1}",
        "[1:2]",
        "[]]",
        "1,2",
        "1 2",
        "NaN",
        "nan",
        "Infinity",
        "-Infinity",
        "01",
        "-01",
        "+1",
        ".5",
        "-.5",
        "1.",
        "1.e3",
        "0x10",
        "-",
        "--1",
        "1e",
        "1e+",
        "1E-",
        "1e1.5",
        "1.5.2",
        "1_000",
        "1e999",
        "-1e309",
        "True",
        "TRUE",
        "tru",
        "truex",
        "nul",
        "nullnull",
        "fals",
        r#""\x41""#,
        r#""\'""#,
        r#""\a""#,
        r#""\U0041""#,
        r#""\u12g4""#,
        r#""\u 123""#,
        r#""\u+123""#,
        r#""\u123""#,
        r#""\ud83d\u00zz""#,
        r#""\""#,
        r#""\"#,
        "\"x\ty\"",
        "\"x\u{1}y\"",
        "\"x\0y\"",
        "\"x\ny\"",
        "\u{feff}{}",
        "\u{a0}{}",
        "\x0b{}",
        "\x0c{}",
        "{}\x0c",
    ] {
        for disguise in disguises(text.as_bytes()) {
            assert!(!is_json(&disguise), "{text:?}");
            assert!(!is_flat_object(&disguise), "{text:?}");
        }
    }
    for byte in (0x80..=0xff).chain(*b"\x7f;@(aZ~") {
        assert!(!is_json(&[b'{', byte, b'}']), "{byte:#x}");
        assert!(!is_json(&[b'{', b'}', byte]), "{byte:#x}");
    }
}

#[test]
fn what_go_takes_is_taken() {
    for text in [
        "-0.0e-0",
        "-1E+3",
        "1e-999",
        "1.7976931348623157e308",
        "5e-324",
        "0e999999999999999999999",
        "123456789012345678901234567890",
        "\"\x7f\"",
        r#""\u0000\ud800\udfff\uD83D\uDe00""#,
        r#"{"":{"":""}}"#,
        r#"{"a":1,"a":2}"#,
    ] {
        for disguise in disguises(text.as_bytes()) {
            assert!(is_json(&disguise), "{text:?}");
        }
    }
    assert!(is_json(b"\"\xc3(\xe2\x82\xed\xa0\x80\xf5\x80\xff\""));
}

#[test]
fn a_number_is_finite() {
    for (digits, is_finite) in [(308, true), (309, true), (310, false), (1000, false)] {
        let one = format!("1{}", "0".repeat(digits - 1));
        assert_eq!(is_json(one.as_bytes()), is_finite, "{digits} digits");
        assert_eq!(is_json(format!("-{one}.5").as_bytes()), is_finite, "{digits} digits");
        assert_eq!(is_json(format!("[{one}]").as_bytes()), is_finite, "{digits} digits");
    }
    assert!(!is_json("9".repeat(309).as_bytes()));
    assert!(is_json(format!("0.{}1", "0".repeat(2000)).as_bytes()));
    assert!(is_json(format!("1{}e-1500", "0".repeat(1500)).as_bytes()));
    assert!(is_json(format!("{{\"a\":1{}e-1500}}", "0".repeat(1500)).as_bytes()));
}

#[test]
fn to_float_is_the_nearest() {
    assert!((to_float(b"0.1") - 0.1).abs() < f64::MIN_POSITIVE);
    assert!((to_float(b"-12.5E+2") + 1250.0).abs() < f64::MIN_POSITIVE);
    assert!(to_float(b"1e999").is_infinite());
    assert!(to_float(b"").is_nan());
}

// Objects and arrays by turns that are as long as no power of two.
fn nested(depth: usize) -> (Vec<u8>, Vec<u8>) {
    let is_object = |level: usize| level % 7 < 3 || level % 11 == 5;
    let open: Vec<&[u8]> =
        (0..depth).map(|level| if is_object(level) { &br#"{"a":"#[..] } else { b"[" }).collect();
    let close = (0..depth).rev().map(|level| if is_object(level) { b'}' } else { b']' }).collect();
    (open.concat(), close)
}

#[test]
fn ten_thousand_levels_are_the_most_and_need_no_stack() {
    let work = || {
        for (open, close) in [(&b"["[..], &b"]"[..]), (br#"{"a":"#, b"}"), (br#"[{"a":"#, b"}]")] {
            let levels = close.len();
            let text = |depth: usize| {
                let count = depth / levels;
                [open.repeat(count), b"0".to_vec(), close.repeat(count)].concat()
            };
            let deepest = text(10_000);
            assert!(is_json(&deepest));
            let deeper = [b"[", &deepest[..], b"]"].concat();
            assert!(!is_json(&deeper));
            assert!(!is_json(&text(20_000)));
            assert!(!is_json(&open.repeat(100_000)));
            // To skip them is to read them.
            let mut tokens = Tokens::new(&deepest);
            assert_eq!(tokens.skip_value(), Ok(Skipped::Other));
            assert_eq!(tokens.next(), Ok(None));
            assert_eq!(Tokens::new(&deeper).skip_value(), Err(Malformed));
        }
    };
    // A frame for each level would not fit in this.
    let thread = std::thread::Builder::new().stack_size(128 * 1024).spawn(work).unwrap();
    thread.join().unwrap();
}

#[test]
fn the_tenth_thousandth_level_is_the_last_taken_in_an_object() {
    let text = |depth| {
        let (open, close) = nested(depth);
        [&open[..], b"[]", &close].concat()
    };
    assert!(is_json(&text(9_999)));
    assert!(!is_json(&text(10_000)));
}

#[test]
fn each_end_is_that_of_its_start() {
    for depth in (1..200).chain([255, 256, 257, 1000]) {
        let (open, close) = nested(depth);
        let text = [&open[..], b"1", &close].concat();
        assert!(is_json(&text), "{depth} levels");
        assert!(!is_json(&text[..text.len() - 1]), "{depth} levels, one open");
        for level in 0..depth {
            let mut wrong = text.clone();
            let end = &mut wrong[open.len() + 1 + level];
            *end = if *end == b'}' { b']' } else { b'}' };
            assert!(!is_json(&wrong), "{depth} levels, wrong end {level}");
        }
    }
}

#[test]
fn a_level_is_left_with_what_it_was_in() {
    for depth in 1..200 {
        let (open, close) = nested(depth);
        let more = if close[0] == b'}' { &br#","b":2"#[..] } else { b",2" };
        let text = [&open[..], b"[[{}],[{}]]", more, &close].concat();
        assert!(is_json(&text), "{depth} levels");
        let less = if close[0] == b'}' { &b",2"[..] } else { br#","b":2"# };
        let text = [&open[..], b"[[{}],[{}]]", less, &close].concat();
        assert!(!is_json(&text), "{depth} levels");
    }
}

#[test]
fn strings_of_every_length_end_at_their_quotes() {
    // Most are one bit from a quote, a backslash or a control character.
    for fill in *b"x !#&*2bL]\x7f\x80\xa2\xdc\xff" {
        for length in 0..200 {
            let raw = vec![fill; length];
            let text = [b"\"", &raw[..], b"\""].concat();
            for disguise in disguises(&text) {
                let expected = vec![Token::String(Text::plain(&raw))];
                assert_eq!(tokens(&disguise), (expected, true), "{fill:#x} {length} times");
            }
            let object = [b"{\"", &raw[..], b"\":\"", &raw, b"\",\"\":\"\"}"].concat();
            let text = Text::plain(&raw);
            let expected = vec![
                Token::ObjectStart,
                Token::Key(text),
                Token::String(text),
                key(""),
                string(""),
                Token::ObjectEnd,
            ];
            for disguise in disguises(&object) {
                assert_eq!(
                    tokens(&disguise),
                    (expected.clone(), true),
                    "{fill:#x}, {length} times"
                );
            }
        }
    }
}

#[test]
fn a_string_without_an_end_has_none_at_any_border() {
    for length in 0..200 {
        let text = [b"[\"\",\"", &vec![b'x'; length][..]].concat();
        for disguise in disguises(&text) {
            assert_eq!(tokens(&disguise), (vec![Token::ArrayStart, string("")], false), "{length}");
        }
    }
}

#[test]
fn texts_at_the_border_of_the_short_ones_read_alike() {
    for length in 1000..1100 {
        let raw = "x".repeat(length);
        for text in [format!("\"{raw}\""), format!("{{\"{raw}\":\"\"}}"), format!("[1,\"{raw}\"]")]
        {
            assert!(is_json(text.as_bytes()));
            assert_eq!(value(text.as_bytes()), reference(text.as_bytes()));
            for cut in 1..4 {
                assert!(!is_json(&text.as_bytes()[..text.len() - cut]), "{length} less {cut}");
            }
        }
    }
}

#[test]
fn a_control_character_is_refused_at_every_place() {
    for control in [0, 1, 8, b'\t', b'\n', b'\r', 0x1e, 0x1f] {
        for place in 0..200 {
            let mut text = vec![b'x'; 202];
            text[0] = b'"';
            text[201] = b'"';
            text[place + 1] = control;
            for disguise in disguises(&text) {
                assert_eq!(tokens(&disguise), (vec![], false), "{control:#x} at {place}");
            }
        }
    }
}

#[test]
fn a_backslash_is_seen_at_every_place() {
    for (escape, meaning) in [
        (r"\n", "\n"),
        (r#"\""#, "\""),
        (r"\\", "\\"),
        (r"\u0022", "\""),
        (r"\ud83d\ude00", "\u{1f600}"),
    ] {
        for place in 0..200 {
            let before = "x".repeat(place);
            let text = format!("[\"{before}{escape}y\",\"z\"]");
            let raw = format!("{before}{escape}y");
            let expected = vec![
                Token::ArrayStart,
                Token::String(Text::new(raw.as_bytes(), true)),
                string("z"),
                Token::ArrayEnd,
            ];
            for disguise in disguises(text.as_bytes()) {
                assert_eq!(tokens(&disguise), (expected.clone(), true), "{escape} at {place}");
            }
            let decoded = Text::new(raw.as_bytes(), true).decode().into_owned();
            assert_eq!(decoded, format!("{before}{meaning}y"));
            let wrong = format!("[\"{before}\\x\"]");
            assert!(!is_json(wrong.as_bytes()), "wrong escape at {place}");
        }
    }
}

#[test]
fn an_entry_cut_anywhere_is_malformed() {
    assert_eq!(value(ENTRY), reference(ENTRY));
    assert!(is_flat_object(ENTRY));
    for cut in 0..ENTRY.len() {
        let text = &ENTRY[..cut];
        let [short, escaped, long] = disguises(text);
        let (found, is_complete) = tokens(&short);
        assert!(!is_complete, "cut at {cut}");
        assert_eq!(tokens(&long).0, found, "cut at {cut}");
        assert_eq!(tokens(&escaped).0, found, "cut at {cut}");
    }
}

#[test]
fn members_are_those_that_the_tokens_tell() {
    let mut tokens = Tokens::new(ENTRY);
    assert_eq!(tokens.next(), Ok(Some(Token::ObjectStart)));
    let mut found = Vec::new();
    while let Some(name) = tokens.next_member().unwrap() {
        let start = tokens.position();
        let kind = tokens.skip_value().unwrap();
        let text = tokens.skipped_string(start, kind).map(|text| text.decode());
        found.push((name.decode(), text));
    }
    assert_eq!(tokens.next(), Ok(None));
    let expected: Vec<(Cow<'_, str>, Option<Cow<'_, str>>)> = [
        ("@level", Some("info")),
        ("@message", Some("request served")),
        ("@module", Some("plugin.http")),
        ("@timestamp", Some("2026-11-23T09:26:30.123456Z")),
        ("method", Some("GET")),
        ("path", Some("/api/v1/items/4711")),
        ("status", None),
        ("ratio", None),
        ("cached", None),
        ("peer", None),
        ("tags", None),
        ("size", None),
    ]
    .map(|(name, text)| (name.into(), text.map(Into::into)))
    .into();
    assert_eq!(found, expected);
}

#[test]
fn a_skipped_string_is_whole_whatever_stands_around_it() {
    for (text, raw, is_escaped) in [
        (r#"{"a":"b"}"#, "b", false),
        (r#"{"a" : "b" }"#, "b", false),
        (r#"{"a":""}"#, "", false),
        (r#"{"a":" b "}"#, " b ", false),
        (r#"{"a":"\"b\""}"#, r#"\"b\""#, true),
        ("{\"a\":\t\r\n\"b\\\\\"}", r"b\\", true),
    ] {
        let mut tokens = Tokens::new(text.as_bytes());
        tokens.next().unwrap();
        assert_eq!(tokens.next_member(), Ok(Some(Text::plain(b"a"))));
        let start = tokens.position();
        let kind = tokens.skip_value().unwrap();
        let expected = Text::new(raw.as_bytes(), is_escaped);
        assert_eq!(tokens.skipped_string(start, kind), Some(expected), "{text}");
        assert_eq!(tokens.next_member(), Ok(None), "{text}");
    }
}

#[test]
fn a_text_is_a_name_however_it_is_spelt() {
    assert!(Text::plain(b"plugin").is("plugin"));
    assert!(!Text::plain(b"plugins").is("plugin"));
    assert!(!Text::plain(br"plu\u0067in").is("plugin"));
    assert!(Text::new(br"plu\u0067in", true).is("plugin"));
    assert!(Text::new(br"\u0070\u006C\u0075\u0067\u0069\u006e", true).is("plugin"));
    assert!(!Text::new(br"plu\u0068in", true).is("plugin"));
}

#[test]
fn surrogates_are_pairs_to_their_last() {
    for (raw, text) in [
        (r"\ud800\udc00", "\u{10000}"),
        (r"\udbff\udfff", "\u{10ffff}"),
        (r"\uD7ff\uDC00", "\u{d7ff}\u{fffd}"),
        (r"\udc00\udc00", "\u{fffd}\u{fffd}"),
        (r"\ud800\ue000", "\u{fffd}\u{e000}"),
        (r"\ud800\udbff", "\u{fffd}\u{fffd}"),
        (r"\ud83d\ud83d\ude00", "\u{fffd}\u{1f600}"),
        (r"\ud83d\n\ude00", "\u{fffd}\n\u{fffd}"),
        (r"\ud83d", "\u{fffd}"),
        (r"\ud83dx", "\u{fffd}x"),
    ] {
        assert_eq!(Text::new(raw.as_bytes(), true).decode(), text, "{raw}");
    }
}

#[test]
fn a_text_without_escapes_is_borrowed() {
    assert!(matches!(Text::plain("gr\u{fc}n".as_bytes()).decode(), Cow::Borrowed("gr\u{fc}n")));
    assert!(matches!(Text::plain(br"a\n").decode(), Cow::Borrowed(r"a\n")));
}

#[test]
fn each_byte_that_is_no_utf8_is_replaced_by_itself() {
    for (raw, text) in [
        (&b"a\xff\xfeb"[..], "a\u{fffd}\u{fffd}b"),
        (b"\xc3(", "\u{fffd}("),
        (b"\xe2\x82", "\u{fffd}\u{fffd}"),
        (b"\xe2\x82\xe2\x82\xac", "\u{fffd}\u{fffd}\u{20ac}"),
        (b"\xc0\xaf\xe0\x80\xaf", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
        (b"\xed\xa0\x80", "\u{fffd}\u{fffd}\u{fffd}"),
        (b"\xf4\x90\x80\x80", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
    ] {
        assert_eq!(Text::plain(raw).decode(), text);
        let escaped = [raw, br"\n", raw].concat();
        assert_eq!(Text::new(&escaped, true).decode(), format!("{text}\n{text}"));
    }
}

// As far as it can be: no text that was scanned is like these.
#[test]
fn a_text_with_a_broken_escape_is_decoded_without_a_panic() {
    for raw in [&br"\"[..], br"a\", br"\u", br"\u1", br"\u12g4", br"\ud800\u", b"\\\xff", br"\x"] {
        let text = Text::new(raw, true).decode();
        assert!(text.len() <= raw.len() * 3, "{text:?}");
    }
}

// What the general path finds, whatever the text.
fn agree(text: &[u8]) -> Result<(), TestCaseError> {
    let [short, escaped, long] = disguises(text);
    let found = tokens(&short);
    prop_assert_eq!(&tokens(&escaped), &found);
    prop_assert_eq!(&tokens(&long), &found);
    if found.1 {
        // One escape makes no difference to what is beside it.
        let beside = [b"[\"\\n\",", text, b"]"].concat();
        let (beside, is_complete) = tokens(&beside);
        prop_assert!(is_complete);
        prop_assert_eq!(&beside[2..beside.len() - 1], &found.0[..]);
    }
    Ok(())
}

// The members of an object by themselves, and by its tokens.
fn agree_on_members(text: &[u8]) -> Result<(), TestCaseError> {
    let mut members = Tokens::new(text);
    let mut reference = Tokens::new(text);
    if members.next() != Ok(Some(Token::ObjectStart)) {
        return Ok(());
    }
    prop_assert_eq!(reference.next(), Ok(Some(Token::ObjectStart)));
    loop {
        let name = members.next_member();
        match reference.next() {
            Ok(Some(Token::Key(expected))) => prop_assert_eq!(name, Ok(Some(expected))),
            Ok(Some(Token::ObjectEnd)) => {
                prop_assert_eq!(name, Ok(None));
                prop_assert_eq!(members.depth(), 0);
                prop_assert_eq!(members.next(), reference.next());
                return Ok(());
            }
            other => {
                prop_assert_eq!(other, Err(Malformed));
                prop_assert_eq!(name, Err(Malformed));
                return Ok(());
            }
        }
        prop_assert_eq!(members.position(), reference.position());
        let start = members.position();
        let is_string = members.is_at_string();
        let skipped = members.skip_value();
        let mut value = reference.next();
        let first = value;
        while value.is_ok() && reference.depth() > 1 {
            value = reference.next();
        }
        prop_assert_eq!(skipped.is_ok(), value.is_ok());
        let Ok(kind) = skipped else { return Ok(()) };
        let text = members.skipped_string(start, kind);
        let expected = match first {
            Ok(Some(Token::String(text))) => Some(text),
            _ => None,
        };
        prop_assert_eq!(text, expected);
        prop_assert_eq!(is_string, text.is_some());
        prop_assert_eq!(members.position(), reference.position());
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn json_says_what_serde_json_reads(text in json()) {
        let reference = reference(&text);
        prop_assert_eq!(value(&text), reference);
        agree(&text)?;
        agree_on_members(&text)?;
    }

    #[test]
    fn what_is_nearly_json_says_what_serde_json_reads(text in mutated(json())) {
        prop_assert_eq!(value(&text), reference(&text));
        agree(&text)?;
        agree_on_members(&text)?;
    }

    #[test]
    fn any_bytes_say_what_serde_json_reads(text in vec(any::<u8>(), 0..100)) {
        prop_assert_eq!(value(&text), reference(&text));
        agree(&text)?;
    }

    #[test]
    fn escapes_are_those_of_utf16(units in vec(prop_oneof![any::<u16>(), 0xd7f0_u16..0xe010], 0..12)) {
        let raw: Vec<u8> = units.iter().copied().flat_map(escape).collect();
        let expected: String =
            char::decode_utf16(units).map(|unit| unit.unwrap_or('\u{fffd}')).collect();
        prop_assert_eq!(Text::new(&raw, true).decode(), expected);
    }

    #[test]
    fn what_serde_json_writes_is_read_back(text in ".{0,80}") {
        let written = serde_json::to_string(&text).unwrap();
        let (found, is_complete) = tokens(written.as_bytes());
        prop_assert!(is_complete);
        let [Token::String(found)] = found[..] else { panic!("{found:?}") };
        prop_assert_eq!(found.decode(), text);
    }
}
