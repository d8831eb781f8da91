use pyplugin_rust::hclog::json::{Text, Token, Tokens, to_float};
use pyplugin_rust::hclog::{Level, Parser, Record, timestamp};
use serde_json::{Map, Value};

// serde_json goes no deeper than 128.
const DEEPEST: usize = 120;

/// Any line is a record, and one of JSON says what `serde_json` reads.
pub fn hclog_line(line: &[u8]) {
    let record = Parser::new().parse(line);
    for text in [Some(record.message), Some(record.module), record.timestamp].into_iter().flatten()
    {
        assert!(text.decode().len() <= text.raw().len() * 3, "{text:?} has grown");
    }
    for least in Level::ALL {
        let is_dropped_unread = Parser::new().is_below(line, least);
        assert!(!is_dropped_unread || record.level < least, "{record:?} is dropped at {least:?}");
    }
    // Space after it changes nothing, but long lines are read in another way.
    let longer = [line, &[b' '; 1100]].concat();
    assert_eq!(tokens(line), tokens(&longer));
    let ours = read(line);
    if let Ok(reference) = reference(line) {
        assert_eq!(ours, reference);
        check(line, &record, reference);
    }
}

// All tokens, and whether they are JSON.
fn tokens(line: &[u8]) -> (Vec<Token<'_>>, bool) {
    let mut all = Vec::new();
    let mut tokens = Tokens::new(line);
    loop {
        match tokens.next() {
            Ok(Some(token)) => all.push(token),
            Ok(None) => return (all, true),
            Err(_) => return (all, false),
        }
        assert!(all.len() <= line.len(), "it does not end");
    }
}

// What is read of JSON, numbers as floats; `None`: it is not JSON.
fn read(line: &[u8]) -> Option<Value> {
    let mut tokens = Tokens::new(line);
    let first = tokens.next().ok()??;
    // Deeper ones only end, one way or the other.
    let value = if depth(line) > DEEPEST {
        while tokens.next().ok()?.is_some() {}
        return None;
    } else {
        value(first, &mut tokens)?
    };
    if tokens.next().ok()?.is_some() { None } else { Some(value) }
}

fn value(first: Token<'_>, tokens: &mut Tokens<'_>) -> Option<Value> {
    Some(match first {
        Token::ObjectStart => {
            let mut members = Map::new();
            loop {
                match tokens.next().ok()?? {
                    Token::Key(name) => {
                        let first = tokens.next().ok()??;
                        members.insert(name.decode().into_owned(), value(first, tokens)?);
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
                    first => elements.push(value(first, tokens)?),
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

// `serde_json` may be stricter than Go about a line.
struct NoReference;

// The same by `serde_json`.
fn reference(line: &[u8]) -> Result<Option<Value>, NoReference> {
    let text = str::from_utf8(line).map_err(|_| NoReference)?;
    if depth(line) > DEEPEST {
        return Err(NoReference);
    }
    match serde_json::from_str(text) {
        Ok(value) => Ok(Some(with_floats(value))),
        // It may be a surrogate that is not one of a pair, which Go replaces.
        Err(_) if text.to_ascii_lowercase().contains(r"\ud") => Err(NoReference),
        Err(_) => Ok(None),
    }
}

fn with_floats(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::from(number.as_f64()),
        Value::Array(elements) => elements.into_iter().map(with_floats).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (name, with_floats(value))).collect()
        }
        other => other,
    }
}

// No less than how deep it is nested.
fn depth(line: &[u8]) -> usize {
    line.iter().filter(|byte| b"[{".contains(byte)).count()
}

// Whether the record says what the line says.
fn check(line: &[u8], record: &Record<'_>, json: Option<Value>) {
    let entry = match json {
        Some(Value::Object(members)) => Some(members),
        Some(Value::Null) => Some(Map::new()),
        _ => None,
    };
    let Some(mut members) = entry else {
        assert!(!record.is_entry, "{record:?} is no object");
        return;
    };
    let mut special = |name| match members.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err("no string"),
    };
    let specials = (special("@level"), special("@message"), special("@timestamp"));
    let (Ok(level), Ok(message), Ok(time)) = specials else { return is_text(line, record) };
    let is_timed = time.as_ref().is_none_or(|time| timestamp::is_valid(time.as_bytes()));
    let Some(level) = level.and_then(|name| level_of(&name)).filter(|_| is_timed) else {
        return is_text(line, record);
    };
    let mut module = String::new();
    if let Some(Value::String(text)) = members.get("@module") {
        module.clone_from(text);
        members.remove("@module");
    }
    assert!(record.is_entry, "{record:?} is an entry");
    assert_eq!(record.level, level);
    assert_eq!(record.message.decode(), message.unwrap_or_default());
    assert_eq!(record.module.decode(), module);
    assert_eq!(record.timestamp.map(|text| text.decode().into_owned()), time);
    assert!(record.has_fields || members.is_empty(), "{members:?} are no fields");
}

// A line by itself that is JSON but no entry is none of those that a text can be.
fn is_text(line: &[u8], record: &Record<'_>) {
    assert_eq!(*record, Record::text(line, Level::Info));
    assert_eq!(record.message, Text::plain(line));
}

fn level_of(name: &str) -> Option<Level> {
    let name = name.trim().replace('\u{130}', "i");
    Level::ALL
        .into_iter()
        .filter(|level| *level != Level::Off)
        .find(|level| level.name().eq_ignore_ascii_case(&name))
}
