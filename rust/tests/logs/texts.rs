//! Random texts, and a second opinion on what they say.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use pyplugin_rust::hclog::json::{Token, Tokens, to_float};
use serde_json::{Map, Value};

/// Nothing is left behind by a failure: what it found becomes a test by itself.
pub(crate) fn cases(count: u32) -> ProptestConfig {
    ProptestConfig { cases: count, failure_persistence: None, ..ProptestConfig::default() }
}

/// The value of a line as the tokens tell it, numbers as floats; `None`: it is no JSON.
pub(crate) fn value(line: &[u8]) -> Option<Value> {
    let mut tokens = Tokens::new(line);
    let first = tokens.next().ok()??;
    let value = value_from(first, &mut tokens)?;
    tokens.next().ok()?.is_none().then_some(value)
}

/// The members of an object that is one, in order.
pub(crate) fn members(line: &[u8]) -> Vec<(String, Value)> {
    let mut tokens = Tokens::new(line);
    let mut members = Vec::new();
    tokens.next().unwrap();
    while let Some(name) = tokens.next_member().unwrap() {
        let first = tokens.next().unwrap().unwrap();
        members.push((name.decode().into_owned(), value_from(first, &mut tokens).unwrap()));
    }
    members
}

fn value_from(first: Token<'_>, tokens: &mut Tokens<'_>) -> Option<Value> {
    Some(match first {
        Token::ObjectStart => {
            let mut members = Map::new();
            loop {
                match tokens.next().ok()?? {
                    Token::Key(name) => {
                        let first = tokens.next().ok()??;
                        members.insert(name.decode().into_owned(), value_from(first, tokens)?);
                    }
                    Token::ObjectEnd => return Some(Value::Object(members)),
                    other => panic!("{other:?} in an object"),
                }
            }
        }
        Token::ArrayStart => {
            let mut elements = Vec::new();
            loop {
                match tokens.next().ok()?? {
                    Token::ArrayEnd => return Some(Value::Array(elements)),
                    first => elements.push(value_from(first, tokens)?),
                }
            }
        }
        Token::String(text) => Value::from(text.decode()),
        Token::Number(number) => Value::from(to_float(number)),
        Token::Bool(value) => Value::from(value),
        Token::Null => Value::Null,
        Token::ObjectEnd | Token::ArrayEnd | Token::Key(_) => panic!("{first:?} begins a value"),
    })
}

/// The value of a line as `serde_json` tells it, numbers as floats; `None`: it is no JSON.
pub(crate) fn reference(line: &[u8]) -> Option<Value> {
    serde_json::from_str(&repair(line)).ok().map(with_floats)
}

/// All numbers as floats.
pub(crate) fn with_floats(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::from(number.as_f64()),
        Value::Array(elements) => elements.into_iter().map(with_floats).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (name, with_floats(value))).collect()
        }
        other => other,
    }
}

// Two things are an error to serde_json that Go replaces: bytes that are no UTF-8, and surrogates that
// are not one of a pair.
fn repair(line: &[u8]) -> String {
    let mut text = String::new();
    for chunk in line.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '\u{fffd}'));
    }
    let mut repaired = String::new();
    let mut rest = text.as_str();
    while let Some(index) = rest.find('\\') {
        let (before, escape) = rest.split_at(index);
        repaired.push_str(before);
        let second = || escape.get(6..).and_then(code_unit);
        let (length, is_lone) = match code_unit(escape) {
            Some(0xd800..0xdc00) if matches!(second(), Some(0xdc00..0xe000)) => (12, false),
            Some(0xd800..0xe000) => (6, true),
            Some(_) => (6, false),
            None => (escape.chars().take(2).map(char::len_utf8).sum(), false),
        };
        let (escape, after) = escape.split_at(length);
        repaired.push_str(if is_lone { r"\ufffd" } else { escape });
        rest = after;
    }
    repaired.push_str(rest);
    repaired
}

fn code_unit(escape: &str) -> Option<u16> {
    let digits = escape.strip_prefix(r"\u")?.get(..4)?;
    if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        u16::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

/// JSON of any kind, some of it without any escape or control character.
pub(crate) fn json() -> impl Strategy<Value = Vec<u8>> {
    any::<bool>().prop_flat_map(json_value)
}

/// An object of hclog's, or nearly one, with members that take its special names in all spellings.
pub(crate) fn entry() -> impl Strategy<Value = Vec<u8>> {
    any::<bool>().prop_flat_map(|is_escaped| {
        let special = prop_oneof![
            6 => (select(LEVEL_KEYS), select(LEVELS)).prop_map(|(key, level)| member(key, level)),
            2 => Just(member(br#""@timestamp""#, br#""2026-11-23T09:26:30.123456Z""#)),
            6 => (select(KEYS), string(is_escaped)).prop_map(|(key, text)| member(key, &text)),
            1 => (select(KEYS), json_value(is_escaped)).prop_map(|(key, text)| member(key, &text)),
        ];
        let field = (string(is_escaped), json_value(is_escaped))
            .prop_map(|(key, value)| member(&key, &value));
        let members = vec(prop_oneof![2 => special, 1 => field], 1..7);
        let first = prop_oneof![
            3 => select(LEVELS).prop_map(|level| member(LEVEL_KEYS[0], level)),
            1 => Just(Vec::new()),
        ];
        (first, members, space(is_escaped)).prop_map(|(first, mut members, space)| {
            members.splice(0..0, Some(first).filter(|first| !first.is_empty()));
            [&space, b"{".as_slice(), &members.join(&b","[..]), &space, b"}", &space].concat()
        })
    })
}

const LEVEL_KEYS: &[&[u8]] =
    &[br#""@level""#, br#""@level""#, br#""@level""#, br#""\u0040level""#, br#""@lev\u0065l""#];
const LEVELS: &[&[u8]] = &[
    br#""trace""#,
    br#""debug""#,
    br#""info""#,
    br#""warn""#,
    br#""error""#,
    br#""DEBUG""#,
    br#"" Info ""#,
    br#""d\u0065bug""#,
    br#""off""#,
    br#""fatal""#,
    br#""""#,
    b"3",
    b"null",
];
const KEYS: &[&[u8]] = &[
    br#""@message""#,
    br#""@module""#,
    br#""@timestamp""#,
    br#""\u0040message""#,
    br#""@m\u006fdule""#,
    br#""plugin""#,
    br#""plu\u0067in""#,
    br#""""#,
    br#""a""#,
    br#""a b=\"c\"""#,
];

fn member(key: &[u8], value: &[u8]) -> Vec<u8> {
    [key, b":", value].concat()
}

fn json_value(is_escaped: bool) -> BoxedStrategy<Vec<u8>> {
    let scalar = prop_oneof![
        4 => string(is_escaped),
        3 => "-?(0|[1-9][0-9]{0,22})(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,3})?".prop_map(Vec::from),
        1 => "[1-9][0-9]{290,330}".prop_map(Vec::from),
        3 => select(&["true", "false", "null", "0", "{}", "[]"][..]).prop_map(Vec::from),
    ];
    let spaced = move |inner: BoxedStrategy<Vec<u8>>| {
        (space(is_escaped), inner, space(is_escaped))
            .prop_map(|(before, inner, after)| [before, inner, after].concat())
            .boxed()
    };
    let value = scalar.prop_recursive(6, 48, 5, move |inner| {
        let inner = spaced(inner);
        let key = spaced(string(is_escaped).boxed());
        let member = (key, inner.clone()).prop_map(|(key, value)| member(&key, &value));
        prop_oneof![
            vec(inner, 0..5).prop_map(|values| [b"[", &values.join(&b","[..])[..], b"]"].concat()),
            vec(member, 0..5)
                .prop_map(|members| [b"{", &members.join(&b","[..])[..], b"}"].concat()),
        ]
    });
    spaced(value.boxed())
}

fn space(is_escaped: bool) -> impl Strategy<Value = Vec<u8>> {
    let spaces: &[&str] =
        if is_escaped { &["", "", "", "", " ", "\t", "\r\n "] } else { &["", "", "", " ", "   "] };
    select(spaces).prop_map(Vec::from)
}

fn string(is_escaped: bool) -> impl Strategy<Value = Vec<u8>> {
    let plain = prop_oneof![
        6 => "[a-z ]{0,14}".prop_map(Vec::from),
        2 => "[^\\x00-\\x1f\"\\\\]{0,4}".prop_map(Vec::from),
        // Near to a quote or a backslash in one bit, and no UTF-8.
        1 => vec(select(&b"!#$[]^\x7f\x80\x8a\xa2\xdc\xc3\xff"[..]), 1..4),
    ];
    let piece = if is_escaped {
        prop_oneof![
            4 => plain,
            2 => select(&[r#"\""#, r"\\", r"\/", r"\b", r"\f", r"\n", r"\r", r"\t"][..])
                .prop_map(Vec::from),
            1 => any::<u16>().prop_map(escape),
            1 => (0xd800_u16..0xe000).prop_map(escape),
            1 => any::<char>().prop_map(|character| {
                character.encode_utf16(&mut [0; 2]).iter().copied().flat_map(escape).collect()
            }),
        ]
        .boxed()
    } else {
        plain.boxed()
    };
    vec(piece, 0..6).prop_map(|pieces| [b"\"", &pieces.concat()[..], b"\""].concat())
}

/// The escape of a code unit of UTF-16.
pub(crate) fn escape(unit: u16) -> Vec<u8> {
    if unit.is_multiple_of(2) { format!("\\u{unit:04x}") } else { format!("\\u{unit:04X}") }.into()
}

/// What a few random changes make of a text.
pub(crate) fn mutated(text: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (text, vec(mutation(), 1..5)).prop_map(|(mut text, mutations)| {
        for mutation in mutations {
            mutation.apply(&mut text);
        }
        text
    })
}

#[derive(Debug, Clone)]
enum Mutation {
    Replace(Index, u8),
    Insert(Index, u8),
    Delete(Index),
    Truncate(Index),
    Repeat(Index, usize, Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let byte = || {
        select(
            &b"{}[]:,\"\"\\\\u0123456789abcdefDE+-.eEtrufalsnl@ \t\r\n\x00\x1f\x7f\x80\xa2\xff"[..],
        )
    };
    prop_oneof![
        4 => (any::<Index>(), byte()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        3 => (any::<Index>(), byte()).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        3 => any::<Index>().prop_map(Mutation::Delete),
        1 => any::<Index>().prop_map(Mutation::Truncate),
        1 => (any::<Index>(), 1_usize..20, any::<Index>())
            .prop_map(|(from, length, to)| Mutation::Repeat(from, length, to)),
    ]
}

impl Mutation {
    fn apply(self, text: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        let length = text.len();
        match self {
            Self::Replace(at, byte) => text[at.index(length)] = byte,
            Self::Insert(at, byte) => text.insert(at.index(length + 1), byte),
            Self::Delete(at) => {
                text.remove(at.index(length));
            }
            Self::Truncate(at) => text.truncate(at.index(length)),
            Self::Repeat(from, count, to) => {
                let from = from.index(length);
                let piece = text[from..length.min(from + count)].to_vec();
                let to = to.index(length + 1);
                text.splice(to..to, piece);
            }
        }
    }
}
