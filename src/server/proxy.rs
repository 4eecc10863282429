//! The PROXY protocol, versions 1 and 2: who a connection is from, told by the proxy before us in front of everything
//! else. Read by the letter of its specification (haproxy.org, proxy-protocol.txt §2); what is not that ends the
//! connection.
//!
//! Invariant: exactly the header is taken from the socket, never a byte behind it, and never more than [`MAX_LENGTH`].

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Whom a proxy speaks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Told {
    /// A client with this address.
    Client(IpAddr),
    /// Itself (a health check), or somebody whose address it does not know: that of the socket stands.
    Nobody,
}

/// Not a PROXY header.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error("no PROXY header, or a malformed one")]
pub(super) struct Malformed;

impl From<Malformed> for io::Error {
    fn from(fault: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, fault)
    }
}

/// Takes the header from the socket. The caller has a deadline over it.
///
/// # Errors
/// Where the socket fails, or what comes is no PROXY header.
pub(super) async fn read(socket: &mut TcpStream) -> io::Result<Told> {
    let mut first = [0; SIGNATURE.len()];
    socket.read_exact(&mut first[..1]).await?;
    match first[0] {
        b'\r' => {
            socket.read_exact(&mut first[1..]).await?;
            if first != *SIGNATURE {
                return Err(Malformed.into());
            }
            let mut fixed = [0; 4];
            socket.read_exact(&mut fixed).await?;
            let length = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
            if length > MAX_LENGTH {
                return Err(Malformed.into());
            }
            let mut rest = vec![0; length];
            socket.read_exact(&mut rest).await?;
            Ok(version_2([fixed[0], fixed[1]], &rest)?)
        }
        b'P' => Ok(version_1(&line(socket).await?)?),
        _ => Err(Malformed.into()),
    }
}

/// What is left of the line of version 1, its end included, without a byte more: up to its end, all that has come is
/// part of it.
async fn line(socket: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut line = vec![b'P'];
    let mut piece = [0; MAX_LINE];
    while !line.ends_with(b"\n") {
        let room = MAX_LINE - line.len();
        if room == 0 {
            return Err(Malformed.into());
        }
        let length = socket.peek(&mut piece[..room]).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let end = memchr::memchr(b'\n', &piece[..length]).map_or(length, |at| at + 1);
        socket.read_exact(&mut piece[..end]).await?;
        line.extend_from_slice(&piece[..end]);
    }
    Ok(line)
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n`
fn version_1(line: &[u8]) -> Result<Told, Malformed> {
    let text = line.strip_suffix(b"\r\n").and_then(|line| std::str::from_utf8(line).ok());
    let rest = text.and_then(|text| text.strip_prefix("PROXY ")).ok_or(Malformed)?;
    if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        return Ok(Told::Nobody);
    }
    let parts: Vec<&str> = rest.split(' ').collect();
    let [protocol, source, destination, source_port, destination_port] = parts[..] else {
        return Err(Malformed);
    };
    if !is_port(source_port) || !is_port(destination_port) {
        return Err(Malformed);
    }
    let address = match protocol {
        "TCP4" => {
            destination.parse::<Ipv4Addr>().map_err(|_| Malformed)?;
            IpAddr::V4(source.parse().map_err(|_| Malformed)?)
        }
        "TCP6" => {
            destination.parse::<Ipv6Addr>().map_err(|_| Malformed)?;
            IpAddr::V6(source.parse().map_err(|_| Malformed)?)
        }
        _ => return Err(Malformed),
    };
    Ok(Told::Client(address.to_canonical()))
}

/// Digits, without a sign and without zeroes in front.
fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'))
        && text.parse::<u16>().is_ok()
}

/// By the bytes 13 and 14, and what their length announced.
fn version_2([command, family]: [u8; 2], rest: &[u8]) -> Result<Told, Malformed> {
    let size = match family {
        UNSPECIFIED => 0,
        TCP4 => 12,
        TCP6 => 36,
        UNIX => 216,
        _ => return Err(Malformed), // datagrams are no connections
    };
    match command {
        LOCAL => return Ok(Told::Nobody), // whatever it says besides is to be ignored
        PROXY => {}
        _ => return Err(Malformed),
    }
    let (addresses, extras) = rest.split_at_checked(size).ok_or(Malformed)?;
    are_extras(extras)?;
    let octets = |length| addresses.get(..length).unwrap_or_default();
    Ok(match family {
        TCP4 => <[u8; 4]>::try_from(octets(4)).map_or(Told::Nobody, |ip| Told::Client(ip.into())),
        TCP6 => <[u8; 16]>::try_from(octets(16))
            .map_or(Told::Nobody, |ip| Told::Client(IpAddr::from(ip).to_canonical())),
        _ => Told::Nobody,
    })
}

/// Type, length, value, and again, to the end: what they say is not looked at.
fn are_extras(mut rest: &[u8]) -> Result<(), Malformed> {
    while let [_, high, low, behind @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = behind.get(length..).ok_or(Malformed)?;
    }
    if rest.is_empty() { Ok(()) } else { Err(Malformed) }
}

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNIX: u8 = 0x31;
/// Longest line of version 1, its end included.
const MAX_LINE: usize = 107;
/// Most bytes behind the fixed part of version 2: addresses, and what proxies say besides.
const MAX_LENGTH: usize = 2048;

#[cfg(test)]
mod tests {
    use super::{Malformed, Told, version_1, version_2};

    fn client(address: &str) -> Result<Told, Malformed> {
        Ok(Told::Client(address.parse().unwrap()))
    }

    #[test]
    fn a_line_of_version_1_tells_an_address_or_that_it_is_unknown() {
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", client("192.0.2.1")),
            ("PROXY TCP6 2001:db8::1 ::1 0 65535\r\n", client("2001:db8::1")),
            ("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 1\r\n", client("192.0.2.1")),
            ("PROXY UNKNOWN\r\n", Ok(Told::Nobody)),
            ("PROXY UNKNOWN ffff:: ffff:: 1 1 and more\r\n", Ok(Told::Nobody)),
        ] {
            assert_eq!(version_1(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn a_line_that_is_not_by_the_letter_is_refused() {
        for line in [
            "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443 \r\n",
            "PROXY TCP4  192.0.2.1 192.0.2.2 56324 443\r\n",
            "PROXY  TCP4 192.0.2.1 192.0.2.2 56324 443\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 65536 443\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +1 443\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 01 443\r\n",
            "PROXY TCP4 192.0.2.01 192.0.2.2 1 443\r\n",
            "PROXY TCP4 ::1 ::1 1 1\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 1\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.2 1 1\r\n",
            "PROXY UNKNOWNX\r\n",
            "PROXY\r\n",
            "proxy TCP4 192.0.2.1 192.0.2.2 1 1\r\n",
            "POST / HTTP/1.1\r\n",
        ] {
            assert_eq!(version_1(line.as_bytes()), Err(Malformed), "{line}");
        }
        assert_eq!(version_1(b"PROXY TCP4 \xff 192.0.2.2 1 1\r\n"), Err(Malformed));
    }

    #[test]
    fn version_2_tells_an_address_or_that_it_is_nobodys() {
        let four = [192, 0, 2, 1, 192, 0, 2, 2, 0, 1, 0, 2];
        assert_eq!(version_2([0x21, 0x11], &four), client("192.0.2.1"));
        let mut six = [0; 36];
        six[15] = 1;
        assert_eq!(version_2([0x21, 0x21], &six), client("::1"));
        let with_extras = [&four[..], &[0x03, 0, 2, 9, 9, 0x04, 0, 0]].concat();
        assert_eq!(version_2([0x21, 0x11], &with_extras), client("192.0.2.1"));
        assert_eq!(version_2([0x20, 0x00], &[]), Ok(Told::Nobody));
        assert_eq!(version_2([0x20, 0x11], &[1, 2, 3]), Ok(Told::Nobody), "LOCAL: ignored");
        assert_eq!(version_2([0x21, 0x00], &[]), Ok(Told::Nobody));
        assert_eq!(version_2([0x21, 0x31], &[b'x'; 216]), Ok(Told::Nobody));
    }

    #[test]
    fn version_2_with_impossible_lengths_families_or_commands_is_refused() {
        let four = [192, 0, 2, 1, 192, 0, 2, 2, 0, 1, 0, 2];
        for (fixed, rest) in [
            ([0x21, 0x11], &four[..11]),
            ([0x21, 0x21], &four[..]),
            ([0x21, 0x31], &four[..]),
            ([0x21, 0x12], &four[..]),
            ([0x21, 0x41], &four[..]),
            ([0x22, 0x11], &four[..]),
            ([0x11, 0x11], &four[..]),
            ([0x31, 0x11], &four[..]),
            ([0x21, 0x11], &[&four[..], &[3]].concat()[..]),
            ([0x21, 0x11], &[&four[..], &[3, 0, 9, 1]].concat()[..]),
        ] {
            assert_eq!(version_2(fixed, rest), Err(Malformed), "{fixed:?} {rest:?}");
        }
    }
}
