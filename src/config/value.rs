//! One option's value: its text, parsed and held against the range of its row of the schema.
//!
//! Messages name the option and what it takes; they do not repeat what was given, which may be a
//! secret in the wrong place.

use std::path::PathBuf;
use std::time::Duration;

use super::nearest::nearest;
use super::options::Secret;
use super::schema::{Row, Type};
use super::units;
use crate::seal::Keyring;

/// A parsed value. `None` inside is the word that stands for no value: `none`, `auto`, `off`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Given {
    /// Text and words.
    Text(String),
    /// Secrets and encryption keys.
    Secret(Secret),
    /// Paths.
    Path(PathBuf),
    /// Booleans.
    Bool(bool),
    /// Numbers, powers of two and sizes.
    Number(Option<u64>),
    /// Time spans.
    Span(Option<Duration>),
    /// Shares.
    Share(Option<f64>),
    /// One of the row's words.
    Choice(&'static str),
}

impl Row {
    /// Parses `text`. The error is half a sentence that follows the option's name.
    pub(crate) fn parse(&self, text: &str) -> Result<Given, String> {
        match self.kind {
            Type::Text(max) => plain_text(text, max).map(Given::Text),
            Type::Word(max) => {
                if text.bytes().all(|b| b.is_ascii_graphic()) {
                    plain_text(text, max).map(Given::Text)
                } else {
                    Err("may hold printable ASCII characters only, and no spaces".into())
                }
            }
            Type::Secret => Ok(Given::Secret(Secret::new(text))),
            Type::Path if text.is_empty() => Err("needs the path of a file".into()),
            Type::Path => plain_text(text, 4096).map(|path| Given::Path(path.into())),
            Type::Bool => units::boolean(text).map(Given::Bool),
            Type::Int { word: Some(word), .. } if text == word => Ok(Given::Number(None)),
            Type::PowerOfTwo { .. } if text == "auto" => Ok(Given::Number(None)),
            Type::Int { min, max, .. } => {
                let number = units::integer(text)?;
                self.within((min..=max).contains(&number)).map(|()| Given::Number(Some(number)))
            }
            Type::PowerOfTwo { max } => {
                let number = units::integer(text)?;
                self.within(number.is_power_of_two() && number <= max)?;
                Ok(Given::Number(Some(number)))
            }
            Type::Size { none: true, .. } if text == "none" => Ok(Given::Number(None)),
            Type::Size { min, max, .. } => {
                let bytes = units::size(text)?;
                self.within((min..=max).contains(&bytes)).map(|()| Given::Number(Some(bytes)))
            }
            Type::Span { none: true, .. } if text == "none" => Ok(Given::Span(None)),
            Type::Span { min, max, .. } => {
                let span = units::duration(text)?;
                self.within((min..=max).contains(&span)).map(|()| Given::Span(Some(span)))
            }
            Type::Share { word: Some(word) } if text == word => Ok(Given::Share(None)),
            Type::Share { word } => {
                let share = units::fraction(text)?;
                // Where "no share" has a word of its own, 0 and 1 mean nothing.
                self.within(word.is_none() || (share > 0.0 && share < 1.0))?;
                Ok(Given::Share(Some(share)))
            }
            Type::Choice(words) => {
                words.iter().find(|word| **word == text).map(|word| Given::Choice(word)).ok_or_else(
                    || {
                        let near = nearest(text, words.iter().copied()).unwrap_or_default();
                        format!(
                            "has an unknown value; the nearest is `{near}`, it takes {}",
                            self.range()
                        )
                    },
                )
            }
            Type::Keys => {
                Keyring::check(text)?;
                Ok(Given::Secret(Secret::new(text)))
            }
        }
    }

    fn within(&self, holds: bool) -> Result<(), String> {
        if holds { Ok(()) } else { Err(format!("is out of range; it takes {}", self.range())) }
    }

    /// The values that the option takes, for messages and the documentation.
    pub(crate) fn range(&self) -> String {
        let or = |word: Option<&str>| word.map_or(String::new(), |word| format!(", or `{word}`"));
        match self.kind {
            Type::Text(max) => format!("text of up to {max} bytes"),
            Type::Word(max) => format!("a word of up to {max} characters"),
            Type::Secret => "text".into(),
            Type::Path => "path of a file".into(),
            Type::Bool => "`true`, `false`".into(),
            Type::Int { min, max, word } if max == i64::MAX as u64 => {
                format!("whole number from {min}{}", or(word))
            }
            Type::Int { min, max, word } => format!("whole number from {min} to {max}{}", or(word)),
            Type::PowerOfTwo { max } => format!("power of two from 1 to {max}, or `auto`"),
            Type::Size { min, max, none } => {
                let none = or(none.then_some("none"));
                if max == i64::MAX as u64 {
                    format!("size from {min}{none}")
                } else {
                    format!("size from {min} to {}{none}", show_size(max))
                }
            }
            Type::Span { min, max, none } => format!(
                "duration from {} to {}{}",
                show_span(min),
                show_span(max),
                or(none.then_some("none"))
            ),
            Type::Share { word: None } => "fraction from 0 to 1".into(),
            Type::Share { word } => format!("fraction between 0 and 1{}", or(word)),
            Type::Choice(words) => {
                words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
            }
            Type::Keys => "`ID:BASE64,…`".into(),
        }
    }
}

fn plain_text(text: &str, max: usize) -> Result<String, String> {
    if text.len() > max {
        Err(format!("is longer than {max} bytes"))
    } else if text.chars().any(char::is_control) {
        Err("holds a control character".into())
    } else {
        Ok(text.to_owned())
    }
}

fn show_size(bytes: u64) -> String {
    if bytes > 0 && bytes.is_multiple_of(1 << 20) {
        format!("{}MiB", bytes >> 20)
    } else {
        bytes.to_string()
    }
}

fn show_span(span: Duration) -> String {
    let ms = span.as_millis();
    for (unit, scale) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if ms > 0 && ms.is_multiple_of(scale) {
            return format!("{}{unit}", ms / scale);
        }
    }
    if ms == 0 { "0".into() } else { format!("{ms}ms") }
}
