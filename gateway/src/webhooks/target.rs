//! Where an endpoint is: a URL in the one spelling that everybody reads in the same way. What some programs take for
//! an address and others for a name is refused here, before anything is resolved.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const URL_BYTES_MAX: usize = 2_048;
const HOST_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// A host: an address, or a name that is to be resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address.
    Address(IpAddr),
    /// A name.
    Name(String),
}

/// A URL that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whether it is `https`.
    pub secure: bool,
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
    /// Path and query, as they are sent.
    pub path: String,
    /// The host and the port as they stand in the URL.
    pub authority: String,
}

/// Why a URL is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Too long.
    #[error("it must not be longer than {URL_BYTES_MAX} bytes")]
    Length,
    /// Neither scheme.
    #[error("it must begin with https://")]
    Scheme,
    /// Plain HTTP.
    #[error("plain http is not served; use https")]
    Plain,
    /// A user or a password in it.
    #[error("it must not name a user or a password")]
    User,
    /// No host that can be one.
    #[error(
        "its host must be a name, an IPv4 address of four decimal numbers, or an IPv6 address in brackets"
    )]
    Host,
    /// No port.
    #[error("its port must be 1 to 65535")]
    Port,
    /// Characters that do not belong there.
    #[error(
        "its path must have printable ASCII characters only, without spaces and backslashes, and no fragment"
    )]
    Path,
}

impl Target {
    /// Reads a URL; `plain` says whether `http` is one.
    pub fn parse(url: &str, plain: bool) -> Result<Self, UrlError> {
        if url.len() > URL_BYTES_MAX {
            return Err(UrlError::Length);
        }
        let (secure, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) if plain => (false, rest),
            (None, Some(_)) => return Err(UrlError::Plain),
            (None, None) => return Err(UrlError::Scheme),
        };
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(UrlError::User);
        }
        let clean = |byte: u8| byte.is_ascii_graphic() && !b"\\#<>\"^`{|}".contains(&byte);
        if !path.bytes().all(clean) {
            return Err(UrlError::Path);
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let (host, port) = split_port(authority)?;
        let port = port.unwrap_or(if secure { 443 } else { 80 });
        Ok(Self {
            secure,
            host: read_host(host)?,
            port,
            path,
            authority: authority.to_ascii_lowercase(),
        })
    }

    /// Scheme, host and port of a URL: what may be shown where its path, which may hold a secret, may not.
    #[must_use]
    pub fn origin_of(url: &str) -> String {
        let Ok(target) = Self::parse(url, true) else { return String::new() };
        let scheme = if target.secure { "https" } else { "http" };
        match target.host {
            Host::Address(IpAddr::V6(address)) => format!("{scheme}://[{address}]:{}", target.port),
            Host::Address(address) => format!("{scheme}://{address}:{}", target.port),
            Host::Name(name) => format!("{scheme}://{name}:{}", target.port),
        }
    }

    /// The host as certificates name it.
    #[must_use]
    pub fn host_text(&self) -> String {
        match &self.host {
            Host::Address(address) => address.to_string(),
            Host::Name(name) => name.clone(),
        }
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), UrlError> {
    let after_host = if authority.starts_with('[') {
        authority.find(']').ok_or(UrlError::Host)? + 1
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, rest) = authority.split_at(after_host);
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Ok((host, None)),
        None => Err(UrlError::Host),
        Some(port) => {
            let digits =
                (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
            let port = port.parse().ok().filter(|port| digits && *port != 0);
            Ok((host, Some(port.ok_or(UrlError::Port)?)))
        }
    }
}

fn read_host(host: &str) -> Result<Host, UrlError> {
    if let Some(inside) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let address: Ipv6Addr = inside.parse().map_err(|_| UrlError::Host)?;
        return Ok(Host::Address(address.into()));
    }
    if host.is_empty() || host.len() > HOST_BYTES_MAX {
        return Err(UrlError::Host);
    }
    let labels: Vec<&str> = host.strip_suffix('.').unwrap_or(host).split('.').collect();
    let last = labels.last().copied().unwrap_or_default();
    // Whatever ends like a number is an address for some programs: in decimal, octal or hexadecimal, in one part or
    // in four.
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit())
        || last
            .strip_prefix("0x")
            .or_else(|| last.strip_prefix("0X"))
            .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if numeric {
        // The standard library takes four decimal numbers without leading zeros only.
        let address: Ipv4Addr = host.parse().map_err(|_| UrlError::Host)?;
        return Ok(Host::Address(address.into()));
    }
    let is_label = |label: &&str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if labels.iter().all(is_label) {
        Ok(Host::Name(host.to_ascii_lowercase()))
    } else {
        Err(UrlError::Host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let read =
            |url: &str| Target::parse(url, true).unwrap_or_else(|error| panic!("{url}: {error}"));
        let target = read("https://Hooks.Example.cd/in?a=1");
        assert_eq!(
            (target.host, target.port, &*target.path),
            (Host::Name("hooks.example.cd".to_owned()), 443, "/in?a=1")
        );
        assert_eq!(read("http://127.0.0.1:8080").host, Host::Address("127.0.0.1".parse().unwrap()));
        assert_eq!(read("https://[2001:db8::1]:8443/").port, 8_443);
        assert_eq!(read("https://a.cd?x").path, "/?x");
        assert_eq!(read("https://a.cd/@127.0.0.1").host, Host::Name("a.cd".to_owned()));
        // A name of other letters is written as it is looked up; a dot at the end is the root's.
        assert_eq!(
            read("https://xn--bcher-kva.cd/").host,
            Host::Name("xn--bcher-kva.cd".to_owned())
        );
        assert_eq!(read("https://a.cd./").host, Host::Name("a.cd.".to_owned()));
    }

    #[test]
    fn an_origin_has_no_path_in_which_a_secret_may_be() {
        for (url, origin) in [
            ("https://Hooks.a.cd/in/s3cret?key=s3cret", "https://hooks.a.cd:443"),
            ("http://127.0.0.1:8080?s3cret", "http://127.0.0.1:8080"),
            ("https://[2001:db8::1]:8443/", "https://[2001:db8::1]:8443"),
            ("https://u:s3cret@a.cd/", ""),
        ] {
            assert_eq!(Target::origin_of(url), origin, "{url}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for (url, error) in [
            ("ftp://a.cd/", UrlError::Scheme),
            ("HTTPS://a.cd/", UrlError::Scheme),
            ("//a.cd/", UrlError::Scheme),
            ("https://good.cd@127.0.0.1/", UrlError::User),
            ("https://good.cd:x@127.0.0.1/", UrlError::User),
            ("https://good.cd%40127.0.0.1/", UrlError::Host),
            ("https://127.0.0.1\\@good.cd/", UrlError::Path),
            ("https://2130706433/", UrlError::Host),
            ("https://0x7f000001/", UrlError::Host),
            ("https://0X7F.1/", UrlError::Host),
            ("https://0177.0.0.1/", UrlError::Host),
            ("https://127.1/", UrlError::Host),
            ("https://017700000001/", UrlError::Host),
            ("https://0x7f.0.0.1/", UrlError::Host),
            ("https://127.0x0.0.1/", UrlError::Host),
            ("https://0x/", UrlError::Host),
            ("https://1.2.3.4../", UrlError::Host),
            ("https://a.cd../", UrlError::Host),
            ("https://./", UrlError::Host),
            ("https://256.0.0.1/", UrlError::Host),
            ("https://[::ffff:127.0.0.1%lo]/", UrlError::Host),
            // What IDNA makes dots and digits of.
            ("https://127。0。0。1/", UrlError::Host),
            ("https://①②⑦.0.0.1/", UrlError::Host),
            ("https://ｌocalhost/", UrlError::Host),
            ("https://a.cd%2e/", UrlError::Host),
            ("https://127.0.0.1%00.a.cd/", UrlError::Host),
            ("https://127.0.0.1\t.a.cd/", UrlError::Host),
            ("https://127.0.0.01/", UrlError::Host),
            ("https://127.0.0.0x1/", UrlError::Host),
            ("https://127.0.0.1./", UrlError::Host),
            ("https://1.2.3.4.5/", UrlError::Host),
            ("https://[::1/", UrlError::Host),
            ("https://[::1%25eth0]/", UrlError::Host),
            ("https://[127.0.0.1]/", UrlError::Host),
            ("https://[::1]x/", UrlError::Host),
            ("https:///path", UrlError::Host),
            ("https://a..cd/", UrlError::Host),
            ("https://é.cd/", UrlError::Host),
            ("https://a b.cd/", UrlError::Host),
            ("https://a.cd:0/", UrlError::Port),
            ("https://a.cd:65536/", UrlError::Port),
            ("https://a.cd:+80/", UrlError::Port),
            ("https://a.cd:/", UrlError::Port),
            ("https://a.cd/#x", UrlError::Path),
            ("https://a.cd/\r\nHost: b", UrlError::Path),
        ] {
            assert_eq!(Target::parse(url, true), Err(error), "{url}");
        }
        assert_eq!(Target::parse("http://a.cd/", false), Err(UrlError::Plain));
        assert_eq!(
            Target::parse(&format!("https://a.cd/{}", "x".repeat(2_048)), false),
            Err(UrlError::Length)
        );
    }
}
