//! `gateway.toml`, the environment and the flags: layered, judged, and turned into [`Settings`].

mod settings;

pub use settings::{
    Admin, AuthorizationHeader, Client, ClientSecret, Identity, Listen, Log, Origin, OriginAddress,
    SecretKind, Server, Settings, Token, Upstream, UpstreamTls,
};
