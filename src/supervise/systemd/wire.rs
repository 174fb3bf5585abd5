//! As much of D-Bus's wire format as reading properties needs: one method call
//! out, one reply in. Pure; the connection is in `bus`.

use std::collections::BTreeMap;

/// Longest message that is read. A service's properties are about 20 KiB.
pub const MAX_MESSAGE: usize = 4 << 20;
/// Bytes of a message that tell how long it is.
pub const FIXED: usize = 16;
/// Variants and arrays may nest; the manager's do so three deep.
const MAX_DEPTH: usize = 16;

/// Who is asked for what. All arguments are strings.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub destination: &'a str,
    pub path: &'a str,
    pub interface: &'a str,
    pub member: &'a str,
    pub args: &'a [&'a str],
}

/// A received message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub kind: Kind,
    pub answers: Option<u32>,
    /// Name of an error.
    pub error: Option<String>,
    pub body: Vec<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Call,
    Return,
    Error,
    Signal,
}

/// A value as far as anybody here wants to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Number(i128),
    Bool(bool),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
    /// A floating-point number.
    Other,
}

impl Value {
    /// As `systemctl show` prints it, but for times, which stay microseconds.
    pub fn shown(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Number(number) => Some(number.to_string()),
            Self::Bool(true) => Some("yes".into()),
            Self::Bool(false) => Some("no".into()),
            Self::List(items) => {
                let words: Option<Vec<String>> = items.iter().map(Self::shown).collect();
                words.map(|words| words.join(" "))
            }
            Self::Map(_) | Self::Other => None,
        }
    }
}

/// What is wrong with received bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(&'static str);

/// The bytes of a call.
pub fn encode(call: &Call<'_>, serial: u32) -> Vec<u8> {
    let mut body = Vec::new();
    for arg in call.args {
        put_string(&mut body, arg);
    }
    let mut out = vec![b'l', 1, 0, 1];
    put_u32(&mut out, length(body.len()));
    put_u32(&mut out, serial);
    let mut fields = Vec::new();
    let signature = "s".repeat(call.args.len());
    for (code, kind, text) in [
        (1, 'o', call.path),
        (2, 's', call.interface),
        (3, 's', call.member),
        (6, 's', call.destination),
        (8, 'g', signature.as_str()),
    ] {
        if text.is_empty() {
            continue;
        }
        pad(&mut fields, 8);
        fields.extend([code, 1, kind as u8, 0]);
        if kind == 'g' {
            fields.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
            fields.extend(text.as_bytes());
            fields.push(0);
        } else {
            put_string(&mut fields, text);
        }
    }
    put_u32(&mut out, length(fields.len()));
    out.extend(fields);
    pad(&mut out, 8);
    out.extend(body);
    out
}

/// How many bytes the message that begins with `fixed` has.
pub fn size(fixed: &[u8; FIXED]) -> Result<usize, Malformed> {
    let little = is_little(fixed[0])?;
    let body = word(little, fixed, 4) as usize;
    let fields = word(little, fixed, 12) as usize;
    let size = FIXED
        .checked_add(fields)
        .and_then(|head| head.checked_next_multiple_of(8))
        .and_then(|head| head.checked_add(body));
    size.filter(|size| *size <= MAX_MESSAGE).ok_or(Malformed("the message is too long"))
}

/// Reads one whole message.
pub fn decode(bytes: &[u8]) -> Result<Message, Malformed> {
    let fixed: &[u8; FIXED] = bytes.first_chunk().ok_or(Malformed("the message is cut off"))?;
    let little = is_little(fixed[0])?;
    let kind = match fixed[1] {
        1 => Kind::Call,
        2 => Kind::Return,
        3 => Kind::Error,
        4 => Kind::Signal,
        _ => return Err(Malformed("the message is of an unknown kind")),
    };
    let mut reader = Reader { bytes, at: 12, little };
    let Value::List(fields) = reader.value(&mut Types(b"a(yv)"), 0)? else {
        return Err(Malformed("the header is no list"));
    };
    let field = |code: i128| {
        fields.iter().find_map(|field| match field {
            Value::List(pair) if pair.first() == Some(&Value::Number(code)) => pair.get(1),
            _ => None,
        })
    };
    let text = |code| match field(code) {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    };
    let answers = match field(5) {
        Some(Value::Number(serial)) => u32::try_from(*serial).ok(),
        _ => None,
    };
    let (error, signature) = (text(4), text(8).unwrap_or_default());
    reader.align(8)?;
    let mut types = Types(signature.as_bytes());
    let mut body = Vec::new();
    while !types.0.is_empty() {
        body.push(reader.value(&mut types, 0)?);
    }
    Ok(Message { kind, answers, error, body })
}

/// The path under which the manager keeps a unit's object.
pub fn unit_path(unit: &str) -> String {
    use std::fmt::Write as _;
    let mut path = String::from("/org/freedesktop/systemd1/unit/");
    for (at, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "_{byte:02x}");
        }
    }
    path
}

fn is_little(mark: u8) -> Result<bool, Malformed> {
    match mark {
        b'l' => Ok(true),
        b'B' => Ok(false),
        _ => Err(Malformed("the byte order is unknown")),
    }
}

fn word(little: bool, bytes: &[u8; FIXED], at: usize) -> u32 {
    let four = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    if little { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn pad(out: &mut Vec<u8>, to: usize) {
    out.resize(out.len().next_multiple_of(to), 0);
}

fn put_u32(out: &mut Vec<u8>, number: u32) {
    pad(out, 4);
    out.extend(number.to_le_bytes());
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    put_u32(out, length(text.len()));
    out.extend(text.as_bytes());
    out.push(0);
}

/// What is left of a signature.
#[derive(Debug, Clone, Copy)]
struct Types<'a>(&'a [u8]);

impl<'a> Types<'a> {
    fn next(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed("a signature ends early"))?;
        self.0 = rest;
        Ok(*first)
    }

    /// One complete type; `self` goes on after it.
    fn take_one(&mut self) -> Result<Types<'a>, Malformed> {
        let before = self.0;
        let mut open = 0_usize;
        loop {
            match self.next()? {
                b'a' => continue,
                b'(' | b'{' => open += 1,
                b')' | b'}' => {
                    open = open.checked_sub(1).ok_or(Malformed("a signature closes too much"))?;
                }
                _ => {}
            }
            if open == 0 {
                return Ok(Types(&before[..before.len() - self.0.len()]));
            }
        }
    }
}

#[derive(Debug)]
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    little: bool,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) -> Result<(), Malformed> {
        self.at = self.at.next_multiple_of(to);
        if self.at > self.bytes.len() { Err(Malformed("the message is cut off")) } else { Ok(()) }
    }

    fn raw(&mut self, count: usize) -> Result<&[u8], Malformed> {
        let end = self.at.checked_add(count).ok_or(Malformed("a length is too large"))?;
        let found = self.bytes.get(self.at..end).ok_or(Malformed("the message is cut off"))?;
        self.at = end;
        Ok(found)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.align(N)?;
        let little = self.little;
        let mut bytes: [u8; N] =
            self.raw(N)?.try_into().map_err(|_| Malformed("the message is cut off"))?;
        if !little {
            bytes.reverse();
        }
        Ok(bytes)
    }

    fn text(&mut self, count: usize) -> Result<String, Malformed> {
        let bytes = self.raw(count)?.to_vec();
        self.raw(1)?;
        String::from_utf8(bytes).map_err(|_| Malformed("a string is not UTF-8"))
    }

    fn value(&mut self, types: &mut Types<'_>, depth: usize) -> Result<Value, Malformed> {
        if depth > MAX_DEPTH {
            return Err(Malformed("values are nested too deeply"));
        }
        Ok(match types.next()? {
            b'y' => Value::Number(self.raw(1)?[0].into()),
            b'b' => Value::Bool(u32::from_le_bytes(self.number()?) != 0),
            b'n' => Value::Number(i16::from_le_bytes(self.number()?).into()),
            b'q' => Value::Number(u16::from_le_bytes(self.number()?).into()),
            b'i' => Value::Number(i32::from_le_bytes(self.number()?).into()),
            b'u' | b'h' => Value::Number(u32::from_le_bytes(self.number()?).into()),
            b'x' => Value::Number(i64::from_le_bytes(self.number()?).into()),
            b't' => Value::Number(u64::from_le_bytes(self.number()?).into()),
            b'd' => {
                self.number::<8>()?;
                Value::Other
            }
            b's' | b'o' => {
                let count = u32::from_le_bytes(self.number()?) as usize;
                Value::Text(self.text(count)?)
            }
            b'g' => {
                let count = usize::from(self.raw(1)?[0]);
                Value::Text(self.text(count)?)
            }
            b'v' => {
                let count = usize::from(self.raw(1)?[0]);
                let signature = self.text(count)?;
                self.value(&mut Types(signature.as_bytes()), depth + 1)?
            }
            b'(' => {
                self.align(8)?;
                let mut fields = Vec::new();
                while types.0.first() != Some(&b')') {
                    fields.push(self.value(types, depth + 1)?);
                }
                types.next()?;
                Value::List(fields)
            }
            b'a' => self.array(types.take_one()?, depth)?,
            _ => return Err(Malformed("a type is unknown")),
        })
    }

    fn array(&mut self, item: Types<'_>, depth: usize) -> Result<Value, Malformed> {
        let count = u32::from_le_bytes(self.number()?) as usize;
        let first = *item.0.first().ok_or(Malformed("a signature ends early"))?;
        self.align(match first {
            b'(' | b'{' | b'x' | b't' | b'd' => 8,
            b'n' | b'q' => 2,
            b'y' | b'g' | b'v' => 1,
            _ => 4,
        })?;
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(Malformed("the message is cut off"))?;
        let mut map = BTreeMap::new();
        let mut list = Vec::new();
        while self.at < end {
            let before = self.at;
            if let Some(pair) = item.0.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}")) {
                self.align(8)?;
                let mut types = Types(pair);
                let key = self.value(&mut types, depth + 1)?;
                let value = self.value(&mut types, depth + 1)?;
                map.insert(key.shown().unwrap_or_default(), value);
            } else {
                list.push(self.value(&mut item.clone(), depth + 1)?);
            }
            if self.at == before {
                return Err(Malformed("an item has no bytes"));
            }
        }
        Ok(if first == b'{' { Value::Map(map) } else { Value::List(list) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CALL: Call<'_> = Call {
        destination: "org.freedesktop.systemd1",
        path: "/org/freedesktop/systemd1/unit/a_2eservice",
        interface: "org.freedesktop.DBus.Properties",
        member: "GetAll",
        args: &[""],
    };

    #[test]
    fn a_call_is_a_message_of_its_announced_size() {
        let bytes = encode(&CALL, 7);
        assert_eq!(size(bytes.first_chunk().unwrap()), Ok(bytes.len()));
        let message = decode(&bytes).unwrap();
        assert_eq!(message.kind, Kind::Call);
        assert_eq!(message.body, [Value::Text(String::new())]);
    }

    /// A reply with one `a{sv}`, as the manager sends it.
    fn reply() -> Vec<u8> {
        let mut body = Vec::new();
        for (key, kind, value) in [("Id", 's', "a.service"), ("MainPID", 'u', ""), ("Up", 'b', "")]
        {
            pad(&mut body, 8);
            put_string(&mut body, key);
            body.extend([1, kind as u8, 0]);
            if kind == 's' { put_string(&mut body, value) } else { put_u32(&mut body, 1) }
        }
        pad(&mut body, 8);
        put_string(&mut body, "DropInPaths");
        body.extend([2, b'a', b's', 0]);
        let mut paths = Vec::new();
        put_string(&mut paths, "/a");
        put_string(&mut paths, "/b");
        put_u32(&mut body, length(paths.len()));
        body.extend(paths);

        let mut out = vec![b'l', 2, 1, 1];
        put_u32(&mut out, length(body.len() + 8));
        put_u32(&mut out, 1);
        let mut fields = vec![5, 1, b'u', 0];
        put_u32(&mut fields, 7);
        pad(&mut fields, 8);
        fields.extend([8, 1, b'g', 0, 5]);
        fields.extend(b"a{sv}\0");
        put_u32(&mut out, length(fields.len()));
        out.extend(fields);
        pad(&mut out, 8);
        put_u32(&mut out, length(body.len()));
        pad(&mut out, 8);
        out.extend(body);
        out
    }

    #[test]
    fn the_properties_of_a_reply_are_read() {
        let message = decode(&reply()).unwrap();
        assert_eq!((message.kind, message.answers), (Kind::Return, Some(7)));
        let [Value::Map(map)] = message.body.as_slice() else { panic!("{:?}", message.body) };
        let shown = |key: &str| map[key].shown().unwrap();
        assert_eq!(shown("Id"), "a.service");
        assert_eq!(shown("MainPID"), "1");
        assert_eq!(shown("Up"), "yes");
        assert_eq!(shown("DropInPaths"), "/a /b");
    }

    #[test]
    fn a_unit_name_becomes_a_path() {
        assert_eq!(
            unit_path("openclaw-gateway@1.service"),
            "/org/freedesktop/systemd1/unit/openclaw_2dgateway_401_2eservice"
        );
        assert_eq!(unit_path("1a"), "/org/freedesktop/systemd1/unit/_31a");
    }

    proptest! {
        #[test]
        fn foreign_bytes_are_refused_and_nothing_worse(at in 0_usize..240, byte: u8, cut in 0_usize..240) {
            let mut bytes = reply();
            let at = at % bytes.len();
            bytes[at] = byte;
            drop(decode(&bytes));
            bytes.truncate(cut);
            drop(decode(&bytes));
        }

        #[test]
        fn noise_is_refused_and_nothing_worse(bytes: Vec<u8>) {
            drop(decode(&bytes));
        }
    }
}
