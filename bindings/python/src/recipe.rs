//! [`Recipe`]: how a cache was made, to show it (`repr`) and to make it again elsewhere (`pickle`).
//! Secrets leave it in neither way.

use std::sync::Arc;

use lighter_cache::config::schema::{self, Type};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::options::Options;

/// The configuration of a cache, as it was given.
pub(crate) enum Recipe {
    /// A URL, or the environment, and options.
    Url { url: Option<String>, options: Options },
    /// A Hybrid of two others.
    Hybrid { l1: Arc<Recipe>, l2: Option<Arc<Recipe>>, options: Options },
}

/// What is left out, and where: a user name is not shown either, but no cache opens without it.
#[derive(Clone, Copy, PartialEq)]
enum For {
    People,
    Pickle,
}

impl For {
    /// Whether the option `name` is left out.
    fn hides(self, name: &str) -> bool {
        let row = schema::SCHEMA.iter().find(|row| row.name == name);
        let secret = row.is_some_and(|row| matches!(row.kind, Type::Secret | Type::Keys));
        secret && (self == Self::People || name != "username")
    }
}

impl Recipe {
    /// Whether values may be reloaded before they expire: false only where it is certain.
    pub(crate) fn may_refresh(&self) -> bool {
        const NAME: &str = "refresh_ahead";
        let named = |options: &Options| options.iter().any(|(name, _)| name.contains(NAME));
        match self {
            Self::Url { url, options } => {
                url.as_ref().is_none_or(|url| url.contains(NAME) || url.contains('%'))
                    || named(options)
            }
            Self::Hybrid { l1, options, .. } => l1.may_refresh() || named(options),
        }
    }

    /// For people: a URL and options, with `***` for what is secret.
    pub(crate) fn shown(&self) -> String {
        let (mut text, options) = match self {
            Self::Url { url: None, options } => ("environment".to_owned(), options),
            Self::Url { url: Some(url), options } => (without_secrets(url, For::People).0, options),
            Self::Hybrid { l1, l2: None, options } => (format!("({})", l1.shown()), options),
            Self::Hybrid { l1, l2: Some(l2), options } => {
                (format!("({} over {})", l1.shown(), l2.shown()), options)
            }
        };
        for (name, value) in options {
            let value = if For::People.hides(name) { "***" } else { value };
            text += &format!(" {name}={value}");
        }
        text
    }

    /// For `_reopen.reopen`: `("url", url, options, had_secrets)`, `("hybrid", l1, l2, options)`.
    pub(crate) fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        match self {
            Self::Url { url, options } => {
                let url = url.as_ref().map(|url| without_secrets(url, For::Pickle));
                let (url, mut secrets) = url.map_or((None, false), |(url, had)| (Some(url), had));
                let open = |(name, _): &&(String, String)| !For::Pickle.hides(name);
                let kept: Options = options.iter().filter(open).cloned().collect();
                secrets |= kept.len() < options.len();
                ("url", url, kept, secrets).into_pyobject(py)
            }
            Self::Hybrid { l1, l2, options } => {
                let l2 = l2.as_ref().map(|l2| l2.to_python(py)).transpose()?;
                ("hybrid", l1.to_python(py)?, l2, options.clone()).into_pyobject(py)
            }
        }
    }
}

/// `url`, which has been opened and so is well formed, without its secrets; and whether a pickle of it
/// lacks any.
fn without_secrets(url: &str, reader: For) -> (String, bool) {
    let (address, query) = match url.split_once('?') {
        Some((address, query)) => (address, Some(query)),
        None => (url, None),
    };
    let mut lacks = false;
    // Whoever logs in comes between "//" and the last "@"; both parts have their own escaped.
    let mut text = match address.rsplit_once('@') {
        None => address.to_owned(),
        Some((front, rest)) => {
            let (scheme, login) = front.split_once("//").unwrap_or(("", front));
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            lacks |= !password.is_empty();
            match reader {
                For::People => format!("{scheme}//***@{rest}"),
                For::Pickle if user.is_empty() => format!("{scheme}//{rest}"),
                For::Pickle => format!("{scheme}//{user}@{rest}"),
            }
        }
    };
    let mut separator = '?';
    for option in query.into_iter().flat_map(|query| query.split('&')) {
        let name = option.split('=').next().unwrap_or_default();
        let hidden = reader.hides(&unescaped(name));
        lacks |= hidden;
        if hidden && reader == For::Pickle {
            continue;
        }
        text.push(separator);
        text += &if hidden { format!("{name}=***") } else { option.to_owned() };
        separator = '&';
    }
    (text, lacks)
}

/// `name` without percent-encoding.
fn unescaped(name: &str) -> String {
    let mut parts = name.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        text.push(byte.map_or('%', char::from));
        text += part.get(2..).unwrap_or_default();
    }
    text
}
