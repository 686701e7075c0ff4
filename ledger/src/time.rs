//! Stand-in until the parser branch is merged: take that branch's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixMs(u64);
impl UnixMs {
    pub fn new(v: u64) -> Option<Self> {
        (v <= 253_402_300_799_999).then_some(Self(v))
    }
    pub fn get(self) -> u64 {
        self.0
    }
    pub fn parse_canonical(t: &str) -> Option<Self> {
        if t.len() != 24 || !t.is_ascii() {
            return None;
        }
        let n = |a: usize, b: usize| t.get(a..b)?.parse::<i64>().ok();
        let (y, m, d) = (n(0, 4)?, n(5, 7)?, n(8, 10)?);
        let (y2, m2) = if m <= 2 { (y - 1, m + 9) } else { (y, m - 3) };
        let days = 365 * y2 + y2.div_euclid(4) - y2.div_euclid(100)
            + y2.div_euclid(400)
            + (m2 * 306 + 5) / 10
            + d
            - 1
            - 719_468;
        let ms =
            ((days * 24 + n(11, 13)?) * 60 + n(14, 16)?) * 60_000 + n(17, 19)? * 1000 + n(20, 23)?;
        let v = Self(u64::try_from(ms).ok()?);
        (v.to_string() == t).then_some(v)
    }
    pub fn parse_lenient(t: &str) -> Option<Self> {
        if t.len() == 20 {
            Self::parse_canonical(&t.replace('Z', ".000Z"))
        } else {
            Self::parse_canonical(t)
        }
    }
}
impl std::fmt::Display for UnixMs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let days = self.0 / 86_400_000;
        let r = self.0 % 86_400_000;
        let z = days + 719_468;
        let era = z / 146_097;
        let doe = z % 146_097;
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let d = doy - (153 * mp + 2) / 5 + 1;
        let m = if mp < 10 { mp + 3 } else { mp - 9 };
        let y = yoe + era * 400 + u64::from(m <= 2);
        write!(
            f,
            "{y:04}-{m:02}-{d:02}T{:02}:{:02}:{:02}.{:03}Z",
            r / 3_600_000,
            r / 60_000 % 60,
            r / 1000 % 60,
            r % 1000
        )
    }
}
