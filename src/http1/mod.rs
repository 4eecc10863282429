//! HTTP/1.1 on the wire, for both sides: heads are read strictly, framing is decided once, and what is
//! sent is written in one canonical form (RFC 9112). Knows no policy and opens no connection.

pub mod deadline;
pub mod framing;
pub mod head;
pub mod wire;

pub use deadline::Deadline;
pub use framing::{Decoded, Decoder, FramingError};
pub use head::{BadHead, RequestHead, ResponseHead, parse_request, parse_response};
pub use wire::Wire;
