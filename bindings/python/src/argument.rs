//! The arguments of a memoized function as text, which becomes part of a key: the same in every process
//! and version of Python, different for different arguments, and readable in a server's key list.
//!
//! | | |
//! |---|---|
//! | `None`, `True`, `5`, `0.5` | as Python writes them; without `typed`, what is equal is written alike: `True` and `1.0` as `1` |
//! | `str`, `bytes` | between quotes, `b` before bytes; `'` and `\` with a `\` before them |
//! | tuple, list, dict, set | `(1,2,)`, `[1,2,]`, `{1:2,}`, `s{1,2,}`, dicts and sets in the order of their text |
//! | others | as `lighter_cache/_arguments.py` has it |

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyBool, PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString, PyTuple,
};

/// How deep containers may lie in each other.
const DEPTH: usize = 32;

/// Room for a key without an allocation.
const ROOM: usize = 160;

/// Text that is being written.
pub(crate) struct Text {
    short: [u8; ROOM],
    length: usize,
    /// All of it, once it is longer.
    long: Vec<u8>,
}

impl Text {
    #[inline]
    pub(crate) fn new() -> Self {
        Self { short: [0; ROOM], length: 0, long: Vec::new() }
    }

    #[inline]
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        match self.short.get_mut(self.length..self.length + bytes.len()) {
            Some(room) if self.long.is_empty() => {
                room.copy_from_slice(bytes);
                self.length += bytes.len();
            }
            _ => self.push_long(bytes),
        }
    }

    #[cold]
    fn push_long(&mut self, bytes: &[u8]) {
        if self.long.is_empty() {
            self.long.extend_from_slice(&self.short[..self.length]);
        }
        self.long.extend_from_slice(bytes);
    }

    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        if self.long.is_empty() { &self.short[..self.length] } else { &self.long }
    }

    /// Between quotes.
    #[inline]
    fn quote(&mut self, bytes: &[u8]) {
        self.push(b"'");
        if bytes.iter().any(|&byte| byte == b'\'' || byte == b'\\') {
            for part in bytes.split_inclusive(|&byte| byte == b'\'' || byte == b'\\') {
                match part.split_last() {
                    Some((&last, front)) if last == b'\'' || last == b'\\' => {
                        self.push(front);
                        self.push(&[b'\\', last]);
                    }
                    _ => self.push(part),
                }
            }
        } else {
            self.push(bytes);
        }
        self.push(b"'");
    }

    #[inline]
    fn number(&mut self, number: i64) {
        // The digits from behind; i64::MIN has 19, and a sign.
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut rest = number.unsigned_abs();
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if number < 0 {
            at -= 1;
            digits[at] = b'-';
        }
        self.push(&digits[at..]);
    }
}

/// Writes one argument and a comma.
#[inline]
pub(crate) fn write(text: &mut Text, object: &Bound<'_, PyAny>, typed: bool) -> PyResult<()> {
    nested(text, object, typed, DEPTH)?;
    text.push(b",");
    Ok(())
}

/// The plain kinds, which most arguments are.
#[inline]
fn nested(text: &mut Text, object: &Bound<'_, PyAny>, typed: bool, depth: usize) -> PyResult<()> {
    if let Ok(string) = object.cast_exact::<PyString>() {
        match string.to_str() {
            Ok(string) => text.quote(string.as_bytes()),
            Err(_) => surrogates(text, string)?,
        }
    } else if let Ok(number) = object.cast_exact::<PyInt>() {
        match number.extract::<i64>() {
            Ok(number) => text.number(number),
            Err(_) => {
                let hex = number.call_method1("__format__", ("#x",))?;
                text.push(hex.cast::<PyString>()?.to_str()?.as_bytes());
            }
        }
    } else if object.is_none() {
        text.push(b"None");
    } else {
        rare(text, object, typed, depth)?;
    }
    Ok(())
}

/// Lone surrogates, which UTF-8 does not have.
#[cold]
fn surrogates(text: &mut Text, string: &Bound<'_, PyString>) -> PyResult<()> {
    let bytes = string.call_method1("encode", ("utf-8", "surrogatepass"))?;
    text.quote(bytes.cast::<PyBytes>()?.as_bytes());
    Ok(())
}

fn rare(text: &mut Text, object: &Bound<'_, PyAny>, typed: bool, depth: usize) -> PyResult<()> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(PyTypeError::new_err(
            "an argument is nested too deeply to be a key: pass key=",
        ));
    };
    if let Ok(bytes) = object.cast_exact::<PyBytes>() {
        text.push(b"b");
        text.quote(bytes.as_bytes());
    } else if let Ok(flag) = object.cast_exact::<PyBool>() {
        text.push(match (typed, flag.is_true()) {
            (true, true) => b"True",
            (true, false) => b"False",
            (false, true) => b"1",
            (false, false) => b"0",
        });
    } else if let Ok(number) = object.cast_exact::<PyFloat>() {
        let number = number.value();
        // Up to 2^53 a float is one integer and no other.
        if !typed && number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 {
            text.number(number as i64);
        } else {
            text.push(format!("{number:?}").as_bytes());
        }
    } else if let Ok(tuple) = object.cast_exact::<PyTuple>() {
        text.push(b"(");
        for item in tuple.iter_borrowed() {
            nested(text, &item, typed, depth)?;
            text.push(b",");
        }
        text.push(b")");
    } else if let Ok(list) = object.cast_exact::<PyList>() {
        text.push(b"[");
        for item in list.iter() {
            nested(text, &item, typed, depth)?;
            text.push(b",");
        }
        text.push(b"]");
    } else if let Ok(dict) = object.cast_exact::<PyDict>() {
        let one = |(key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
            let mut text = Text::new();
            nested(&mut text, &key, typed, depth)?;
            text.push(b":");
            nested(&mut text, &value, typed, depth)?;
            Ok(text.as_bytes().to_vec())
        };
        text.push(b"{");
        sorted(text, dict.iter().map(one).collect::<PyResult<_>>()?);
    } else if object.is_exact_instance_of::<PySet>() || object.is_exact_instance_of::<PyFrozenSet>()
    {
        let one = |item: PyResult<Bound<'_, PyAny>>| {
            let mut text = Text::new();
            nested(&mut text, &item?, typed, depth)?;
            Ok(text.as_bytes().to_vec())
        };
        text.push(b"s{");
        sorted(text, object.try_iter()?.map(one).collect::<PyResult<_>>()?);
    } else {
        static OTHERS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let others = OTHERS.import(object.py(), "lighter_cache._arguments", "text")?;
        let bytes = others.call1((object, typed, depth))?;
        text.push(bytes.cast::<PyBytes>()?.as_bytes());
    }
    Ok(())
}

fn sorted(text: &mut Text, mut parts: Vec<Vec<u8>>) {
    parts.sort_unstable();
    for part in parts {
        text.push(&part);
        text.push(b",");
    }
    text.push(b"}");
}

/// `object` as text, containers at most `depth` deep in each other.
pub(crate) fn encoded(
    object: &Bound<'_, PyAny>,
    typed: bool,
    depth: Option<usize>,
) -> PyResult<Vec<u8>> {
    let mut text = Text::new();
    nested(&mut text, object, typed, depth.unwrap_or(DEPTH).min(DEPTH))?;
    Ok(text.as_bytes().to_vec())
}
