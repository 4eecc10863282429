//! The JSON Schema (2020-12) of `gateway.toml`, made from the declarations that the reader follows.

use serde_json::{Value as Json, json};

use super::raw::Root;
use super::shape::{Read, Shape};

/// The schema of the whole file, for editors and for checks in a pipeline. No key is required in it, since each can
/// come from the environment.
#[must_use]
pub fn schema() -> Json {
    let mut schema = root().schema();
    if let Json::Object(schema) = &mut schema {
        schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        schema.insert("title".to_owned(), json!("gateway.toml"));
    }
    schema
}

/// What the file may look like.
pub(super) fn root() -> Shape {
    Root::shape()
}
