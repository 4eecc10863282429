//! Settings from outside of the file: `TOLLGATE_…` variables and flags. All of it is text, whatever it looks like.

use std::ffi::OsString;

use zeroize::Zeroizing;

use super::document::Source;
use super::excerpt::printable;
use super::fault::nearest;
use super::layers::Layer;
use super::mask::holds_key_material;
use super::node::{Node, PREFIX, Place, Value, variable};
use super::report::Report;
use super::shape::Shape;

/// Reads every variable that begins with `TOLLGATE_`; one that no key answers to is a fault.
pub(super) fn variables(
    environment: &[(OsString, OsString)],
    shape: &Shape,
    source: &mut Source,
    report: &mut Report,
) -> Layer {
    let mut layer = Layer::new("environment");
    let mut ours: Vec<(String, &OsString)> = environment
        .iter()
        .filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value)))
        .filter(|(name, value)| name.starts_with(PREFIX) && !is_foreign(name, value))
        .collect();
    ours.sort();
    let mut whole_lists: Vec<(Vec<String>, String)> = Vec::new();
    for (name, value) in ours {
        let path: Vec<String> =
            name[PREFIX.len()..].to_lowercase().split("__").map(str::to_owned).collect();
        let target = path.iter().try_fold(shape, |shape, part| shape.child(part));
        let may_be_shown = match target {
            Some(Shape::Value { secret, .. }) => !secret,
            Some(Shape::List { of, .. }) => matches!(**of, Shape::Value { secret: false, .. }),
            _ => false,
        };
        let text = value.to_str();
        let place = source.give(
            &name,
            false,
            text.filter(|text| may_be_shown && !holds_key_material(text)),
        );
        let Some(text) = text else {
            report.error(place, format!("`{}` is not UTF-8", printable(&name)), "set it to text");
            continue;
        };
        match target {
            Some(Shape::Value { .. } | Shape::Any) => {}
            Some(Shape::List { of, .. }) if matches!(**of, Shape::Value { .. }) => {
                whole_lists.push((path.clone(), name.clone()));
            }
            Some(shape @ (Shape::Table(_) | Shape::List { .. } | Shape::Map(_))) => {
                let first = shape.paths(&path.join(".")).first().map(|path| variable(path));
                report.error(
                    place,
                    format!("`{}` names a section, not a key", printable(&name)),
                    format!("name the key too, such as {}", first.unwrap_or_default()),
                );
                continue;
            }
            None => {
                let mend = unknown_advice(&name, shape);
                report.error(place, format!("unknown variable `{}`", printable(&name)), mend);
                continue;
            }
        }
        if let Some((_, whole)) = whole_lists.iter().find(|(list, _)| is_entry(&path, list)) {
            report.error(
                place,
                format!("`{whole}` sets the whole list, and this one of its entries"),
                "keep one of the two",
            );
            continue;
        }
        note_lists(&mut layer, shape, &path, place);
        let value = Value::Text(Zeroizing::new(text.to_owned()));
        layer.leaf(path, Node { key: place, place, path: String::new(), value });
    }
    layer
}

/// What was given on the command line.
pub(super) fn flags(listen: &[String], upstream: Option<&str>, source: &mut Source) -> Layer {
    let mut layer = Layer::new("flags");
    let mut text = |flag: &str, value: &str| {
        let place = source.give(flag, true, Some(value));
        let value = Value::from(value);
        Node { key: place, place, path: String::new(), value }
    };
    let path = |section: &str, key: &str| vec![section.to_owned(), key.to_owned()];
    let items: Vec<Node> = listen.iter().map(|address| text("--listen", address)).collect();
    if let Some(place) = items.first().map(|item| item.place) {
        let value = Value::List(items);
        layer
            .leaf(path("server", "listen"), Node { key: place, place, path: String::new(), value });
    }
    if let Some(url) = upstream {
        layer.leaf(path("upstream", "url"), text("--upstream", url));
    }
    layer
}

/// Variables with our prefix that are not settings: the one that names the file, and those that Kubernetes and Docker
/// put into every container beside a service called `tollgate`. None of these has two underscores in a row.
fn is_foreign(name: &str, value: &OsString) -> bool {
    let rest = &name[PREFIX.len()..];
    if rest == "CONFIG" {
        return true;
    }
    let is_port =
        |part: &str| part.split('_').next().is_some_and(|port| port.parse::<u16>().is_ok());
    let is_link = |text: &str| text.starts_with("tcp://") || text.starts_with("udp://");
    !rest.contains("__")
        && (rest.ends_with("SERVICE_HOST")
            || rest.ends_with("SERVICE_PORT")
            || rest.contains("SERVICE_PORT_")
            || rest.split_once("PORT_").is_some_and(|(_, port)| is_port(port))
            || value.to_str().is_some_and(is_link) && rest.ends_with("PORT"))
}

/// Marks the lists on a path, so that the tree knows them for lists even if the file has none.
fn note_lists(layer: &mut Layer, shape: &Shape, path: &[String], place: Place) {
    let mut shape = Some(shape);
    for (depth, part) in path.iter().enumerate() {
        if let Some(Shape::List { .. }) = shape
            && part.parse::<usize>().is_ok()
        {
            layer.table(path[..depth].to_vec(), place, place, true);
        }
        shape = shape.and_then(|shape| shape.child(part));
    }
}

fn is_entry(path: &[String], list: &[String]) -> bool {
    path.len() > list.len() && path.starts_with(list)
}

fn unknown_advice(name: &str, shape: &Shape) -> String {
    // The numbers of list entries are alike for the comparison, and put back for the answer.
    let numbers: Vec<&str> =
        name.split("__").filter(|part| part.parse::<usize>().is_ok()).collect();
    let plain: Vec<&str> = name
        .split("__")
        .map(|part| if part.parse::<usize>().is_ok() { "0" } else { part })
        .collect();
    let known: Vec<String> = shape.paths("").iter().map(|path| variable(path)).collect();
    let Some(nearest) = nearest(&plain.join("__"), known.iter().map(String::as_str)) else {
        return "variables are TOLLGATE_ and the path of a key with __ between levels, such as \
                TOLLGATE_UPSTREAM__URL; unset this one"
            .to_owned();
    };
    let mut numbers = numbers.into_iter();
    let meant: Vec<&str> = nearest
        .split("__")
        .map(|part| if part == "0" { numbers.next().unwrap_or("0") } else { part })
        .collect();
    format!("did you mean `{}`?", meant.join("__"))
}
