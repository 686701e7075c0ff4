//! Stand-in until the parser branch is merged: take that branch's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    Array(Vec<Value>),
    Object(Vec<(String, Value)>),
}
pub fn parse(t: &str) -> Option<Value> {
    let mut i = 0;
    let v = value(t.as_bytes(), &mut i, 0)?;
    ws(t.as_bytes(), &mut i);
    (i == t.len()).then_some(v)
}
fn ws(b: &[u8], i: &mut usize) {
    while b.get(*i).is_some_and(|c| b" \n\t\r".contains(c)) {
        *i += 1;
    }
}
fn eat(b: &[u8], i: &mut usize, c: u8) -> Option<()> {
    ws(b, i);
    (b.get(*i) == Some(&c)).then(|| *i += 1)
}
fn string(b: &[u8], i: &mut usize) -> Option<String> {
    eat(b, i, b'"')?;
    let mut o = vec![];
    loop {
        match *b.get(*i)? {
            b'"' => {
                *i += 1;
                return String::from_utf8(o).ok();
            }
            b'\\' => {
                o.push(match *b.get(*i + 1)? {
                    b'n' => b'\n',
                    c => c,
                });
                *i += 2;
            }
            c => {
                o.push(c);
                *i += 1;
            }
        }
    }
}
fn value(b: &[u8], i: &mut usize, depth: u8) -> Option<Value> {
    if depth > 32 {
        return None;
    }
    ws(b, i);
    match *b.get(*i)? {
        b'"' => string(b, i).map(Value::String),
        b'[' => {
            *i += 1;
            let mut v = vec![];
            if eat(b, i, b']').is_some() {
                return Some(Value::Array(v));
            }
            loop {
                v.push(value(b, i, depth + 1)?);
                if eat(b, i, b',').is_none() {
                    eat(b, i, b']')?;
                    return Some(Value::Array(v));
                }
            }
        }
        b'{' => {
            *i += 1;
            let mut v = vec![];
            if eat(b, i, b'}').is_some() {
                return Some(Value::Object(v));
            }
            loop {
                let k = string(b, i)?;
                eat(b, i, b':')?;
                let x = value(b, i, depth + 1)?;
                v.push((k, x));
                if eat(b, i, b',').is_none() {
                    eat(b, i, b'}')?;
                    return Some(Value::Object(v));
                }
            }
        }
        _ => {
            let s = *i;
            while b.get(*i).is_some_and(|c| c.is_ascii_alphanumeric() || b"+-.".contains(c)) {
                *i += 1;
            }
            match b.get(s..*i)? {
                b"null" => Some(Value::Null),
                b"true" => Some(Value::Bool(true)),
                b"false" => Some(Value::Bool(false)),
                b"" => None,
                n => Some(Value::Number(String::from_utf8_lossy(n).into_owned())),
            }
        }
    }
}
