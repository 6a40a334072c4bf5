//! Finding the ends of replies in a stream of bytes, and refusing what no honest server sends.
//!
//! [`Scanner`] walks over RESP2 and RESP3 without building anything: it needs one pass however the
//! bytes are cut up, so a reply that arrives in a thousand pieces costs no more than in one. What the
//! bytes mean is left to the parser of the `redis` crate, which gets whole replies only; [`parse`] goes
//! before it for the shapes that most replies have.

use std::fmt;

use ::redis::{Value as Reply, parse_redis_value};

/// Longest line: a simple string, an error or a number.
const LINE_MAX: usize = 64 << 10;
/// Most values in one reply, nested ones included.
const VALUES_MAX: u64 = 1 << 26;

/// Bytes that are no RESP, or a reply larger than allowed. The connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Violation {
    /// Not RESP.
    Malformed,
    /// A string, a line or a number of values over the limit.
    TooBig,
}

impl Violation {
    const fn text(self) -> &'static str {
        match self {
            Self::Malformed => "the server sent something that is not the Redis protocol",
            Self::TooBig => "the server sent a reply larger than allowed",
        }
    }

    /// The violation that the text of an error speaks of. Where a stream was refused under the `redis`
    /// crate, its error shows the reason as text only.
    pub(super) fn named_in(text: &str) -> Option<Self> {
        [Self::Malformed, Self::TooBig]
            .into_iter()
            .find(|violation| text.contains(violation.text()))
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Violation {}

#[derive(Clone, Copy, Debug)]
enum Within {
    /// A line of which `length` bytes were seen; `number` is what its digits say so far.
    Line { kind: u8, length: usize, number: Number },
    /// The rest of a string and its line end.
    Bulk { left: usize },
    /// Between two values.
    Nothing,
}

#[derive(Clone, Copy, Debug)]
enum Number {
    Empty,
    Minus,
    Positive(u64),
    Negative,
    Invalid,
}

/// Follows a stream of replies.
#[derive(Clone, Debug)]
pub(super) struct Scanner {
    /// Longest string.
    limit: usize,
    within: Within,
    /// Values that the present reply still needs.
    pending: u64,
}

impl Scanner {
    /// `limit`: bytes of the longest string that is let through.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, within: Within::Nothing, pending: 1 }
    }

    /// Whether no reply has begun that has not ended.
    pub(super) fn is_between_replies(&self) -> bool {
        matches!(self.within, Within::Nothing) && self.pending == 1
    }

    /// Goes on with the next bytes of the stream, up to the end of one reply. Returns how many were
    /// used, and whether a reply ended there.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(usize, bool), Violation> {
        let mut used = 0;
        while used < bytes.len() {
            match &mut self.within {
                Within::Nothing => {
                    let kind = bytes[used];
                    self.within = Within::Line { kind, length: 0, number: Number::Empty };
                    used += 1;
                }
                Within::Bulk { left } => {
                    let step = (*left).min(bytes.len() - used);
                    *left -= step;
                    used += step;
                    if *left == 0 && self.value_ended() {
                        return Ok((used, true));
                    }
                }
                Within::Line { kind, length, number } => {
                    let byte = bytes[used];
                    used += 1;
                    *length += 1;
                    if byte == b'\n' {
                        let (kind, number) = (*kind, *number);
                        if self.line_ended(kind, number)? {
                            return Ok((used, true));
                        }
                    } else if *length > LINE_MAX {
                        return Err(Violation::TooBig);
                    } else if byte != b'\r' {
                        number.push(byte);
                    }
                }
            }
        }
        Ok((used, false))
    }

    /// True where the reply is complete.
    fn line_ended(&mut self, kind: u8, number: Number) -> Result<bool, Violation> {
        match kind {
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => Ok(self.value_ended()),
            b'$' | b'!' | b'=' => match number.length()? {
                None => Ok(self.value_ended()),
                Some(length) if length > self.limit as u64 => Err(Violation::TooBig),
                Some(length) => {
                    self.within = Within::Bulk { left: length as usize + 2 };
                    Ok(false)
                }
            },
            b'*' | b'~' | b'>' => self.more(number.length()?.unwrap_or(0)),
            b'%' => self.more(number.length()?.unwrap_or(0).saturating_mul(2)),
            // An attribute comes before the value that it belongs to.
            b'|' => self.more(number.length()?.unwrap_or(0).saturating_mul(2).saturating_add(1)),
            _ => Err(Violation::Malformed),
        }
    }

    fn more(&mut self, values: u64) -> Result<bool, Violation> {
        self.pending = self.pending.saturating_add(values);
        if self.pending > VALUES_MAX { Err(Violation::TooBig) } else { Ok(self.value_ended()) }
    }

    fn value_ended(&mut self) -> bool {
        self.within = Within::Nothing;
        self.pending -= 1;
        if self.pending == 0 {
            self.pending = 1;
            return true;
        }
        false
    }
}

impl Number {
    fn push(&mut self, byte: u8) {
        *self = match (*self, byte) {
            (Self::Empty, b'-') => Self::Minus,
            (Self::Minus, b'0'..=b'9') | (Self::Negative, b'0'..=b'9') => Self::Negative,
            (Self::Empty, b'0'..=b'9') => Self::Positive(u64::from(byte - b'0')),
            (Self::Positive(n), b'0'..=b'9') => {
                Self::Positive(n.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
            }
            _ => Self::Invalid,
        };
    }

    /// `None` for a negative number, which stands for "no value".
    fn length(self) -> Result<Option<u64>, Violation> {
        match self {
            Self::Positive(n) => Ok(Some(n)),
            Self::Negative => Ok(None),
            Self::Empty | Self::Minus | Self::Invalid => Err(Violation::Malformed),
        }
    }
}

/// The head of a reply that is one string: the string's length and where it begins. `None` while the
/// line is incomplete, and for every other kind of reply.
pub(super) fn bulk_head(bytes: &[u8]) -> Option<(usize, usize)> {
    head_of(b'$', bytes)
}

fn head_of(kind: u8, bytes: &[u8]) -> Option<(usize, usize)> {
    if bytes.first() != Some(&kind) {
        return None;
    }
    // Twenty digits are more than any length has.
    let end = bytes.iter().take(24).position(|&byte| byte == b'\n')?;
    let digits = bytes.get(1..end.checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 18 || bytes[end - 1] != b'\r' {
        return None;
    }
    let mut number = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number * 10 + usize::from(digit - b'0');
    }
    Some((number, end + 1))
}

/// The one reply that `frame`, a whole one by the [`Scanner`], is.
pub(super) fn parse(frame: &[u8]) -> Result<Reply, Violation> {
    if frame == b"+OK\r\n" {
        return Ok(Reply::Okay);
    }
    if let Some(strings) = parse_strings(frame) {
        return Ok(Reply::Array(strings));
    }
    parse_redis_value(frame).map_err(|_| Violation::Malformed)
}

/// An array of strings and gaps, as MGET gives: each string is copied once.
fn parse_strings(frame: &[u8]) -> Option<Vec<Reply>> {
    let (count, mut at) = head_of(b'*', frame)?;
    // An element takes three bytes at least, so the frame bounds what is allocated.
    let mut strings = Vec::with_capacity(count.min(frame.len() / 3));
    for _ in 0..count {
        let rest = &frame[at..];
        if rest.starts_with(b"_\r\n") {
            strings.push(Reply::Nil);
            at += 3;
        } else if rest.starts_with(b"$-1\r\n") {
            strings.push(Reply::Nil);
            at += 5;
        } else {
            let (length, start) = head_of(b'$', rest)?;
            let end = start.checked_add(length)?;
            if rest.get(end..end + 2)? != b"\r\n" {
                return None;
            }
            strings.push(Reply::BulkString(rest[start..end].to_vec()));
            at += end + 2;
        }
    }
    (at == frame.len()).then_some(strings)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLIES: [&[u8]; 16] = [
        b"+OK\r\n",
        b"-ERR no\r\n",
        b":-12\r\n",
        b"$5\r\na\r\n\0b\r\n",
        b"$0\r\n\r\n",
        b"$-1\r\n",
        b"_\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"*2\r\n$1\r\na\r\n*2\r\n:1\r\n$-1\r\n",
        b"%1\r\n+k\r\n*1\r\n#t\r\n",
        b"|1\r\n+k\r\n+v\r\n:7\r\n",
        b">2\r\n$10\r\ninvalidate\r\n_\r\n",
        b"~2\r\n,1.5\r\n(123\r\n",
        b"=5\r\ntxt:x\r\n",
        b"!3\r\nERR\r\n",
    ];

    #[test]
    fn finds_the_end_of_each_reply_however_it_is_cut() {
        let stream = REPLIES.concat();
        for piece in [1, 2, 3, 7, stream.len()] {
            let mut scanner = Scanner::new(100);
            let (mut ends, mut at) = (Vec::new(), 0);
            for chunk in stream.chunks(piece) {
                let mut chunk = chunk;
                while !chunk.is_empty() {
                    let (used, ended) = scanner.feed(chunk).unwrap();
                    chunk = &chunk[used..];
                    at += used;
                    if ended {
                        ends.push(at);
                    }
                }
            }
            let mut sum = 0;
            let expected: Vec<usize> = REPLIES
                .iter()
                .map(|reply| {
                    sum += reply.len();
                    sum
                })
                .collect();
            assert_eq!(ends, expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn agrees_with_the_parser() {
        let strings: [&[u8]; 3] = [
            b"*3\r\n$1\r\na\r\n$-1\r\n$0\r\n\r\n",
            b"*2\r\n_\r\n$4\r\n\r\n\r\n\r\n",
            b"*1\r\n$2\r\nab\r\n",
        ];
        for reply in REPLIES.into_iter().chain(strings) {
            assert_eq!(parse(reply), Ok(parse_redis_value(reply).unwrap()), "{reply:?}");
        }
        assert!(strings.into_iter().all(|reply| parse_strings(reply).is_some()));
        assert_eq!(parse_strings(b"*1\r\n$2\r\nabc\r\n"), None);
        assert_eq!(parse_strings(b"*99999999999999999\r\n"), None);
    }

    #[test]
    fn refuses_what_no_server_sends() {
        let refused = |bytes: &[u8]| Scanner::new(100).feed(bytes).unwrap_err();
        assert_eq!(refused(b"HTTP/1.1 400\r\n"), Violation::Malformed);
        assert_eq!(refused(b"$x\r\n"), Violation::Malformed);
        assert_eq!(refused(b"$\r\n"), Violation::Malformed);
        assert_eq!(refused(b"$101\r\n"), Violation::TooBig);
        assert_eq!(refused(b"$99999999999999999999999\r\n"), Violation::TooBig);
        assert_eq!(refused(b"*99999999999\r\n"), Violation::TooBig);
        assert_eq!(refused(b"%18446744073709551615\r\n"), Violation::TooBig);
        let endless = [b"+".to_vec(), vec![b'a'; LINE_MAX + 1]].concat();
        assert_eq!(refused(&endless), Violation::TooBig);
    }

    #[test]
    fn head_of_a_string() {
        assert_eq!(bulk_head(b"$12\r\nabc"), Some((12, 5)));
        assert_eq!(bulk_head(b"$0\r\n\r\n"), Some((0, 4)));
        assert_eq!(bulk_head(b"$-1\r\n"), None);
        assert_eq!(bulk_head(b"$12"), None);
        assert_eq!(bulk_head(b":12\r\n"), None);
        assert_eq!(bulk_head(b"$\n"), None);
        assert_eq!(bulk_head(b""), None);
    }
}
