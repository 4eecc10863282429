//! `tollgate man`: the manual pages, made from the commands' own help and from the declarations of every key.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};
use serde_json::Value as Json;

use super::{ManArgs, WRONG, finished};
use crate::config::schema;

/// Why the pages are not there.
#[derive(Debug, thiserror::Error)]
enum ManError {
    /// The folder cannot be made.
    #[error("cannot make the folder {}", .0.display())]
    Folder(PathBuf, #[source] io::Error),
    /// A page cannot be written.
    #[error("cannot write {}", .0.display())]
    Page(PathBuf, #[source] io::Error),
}

/// A page: the name of its file, and what is in it.
struct Page {
    name: String,
    text: Vec<u8>,
}

pub(super) fn main(args: &ManArgs, command: Command) -> ExitCode {
    let pages = pages(command);
    match &args.folder {
        Some(folder) => finished(write(folder, &pages)),
        None => match pages.first().map(|page| io::stdout().write_all(&page.text)) {
            Some(Ok(())) => ExitCode::SUCCESS,
            Some(Err(_)) | None => ExitCode::from(WRONG), // whoever read it went away
        },
    }
}

fn write(folder: &Path, pages: &[Page]) -> Result<(), ManError> {
    fs::create_dir_all(folder).map_err(|fault| ManError::Folder(folder.to_owned(), fault))?;
    for page in pages {
        let path = folder.join(&page.name);
        fs::write(&path, &page.text).map_err(|fault| ManError::Page(path, fault))?;
    }
    Ok(())
}

/// `tollgate.1` first, then a page for each command, and `gateway.toml.5`.
fn pages(mut command: Command) -> Vec<Page> {
    command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    of_command(&command, &mut pages);
    pages.push(of_file(&schema()));
    pages
}

fn of_command(command: &Command, pages: &mut Vec<Page>) {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let man =
        Man::new(command.clone()).title(name.to_uppercase()).source("tollgate").manual("tollgate");
    let mut text = Vec::new();
    // into memory, which takes everything
    let _ = man.render(&mut text);
    pages.push(Page { name: format!("{name}.1"), text });
    let inner = command.get_subcommands().filter(|inner| !inner.is_hide_set());
    inner.for_each(|inner| of_command(inner, pages));
}

/// `gateway.toml(5)`: each key with its default and its meaning.
fn of_file(schema: &Json) -> Page {
    let mut page = Roff::new();
    page.control("TH", ["GATEWAY.TOML", "5", "", "tollgate", "tollgate"]);
    page.control("SH", ["NAME"]);
    page.text([roman("gateway.toml - the configuration of the tollgate gateway")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(ABOUT)]);
    keys(&mut page, "", schema);
    page.control("SH", ["SEE ALSO"]);
    page.text([bold("tollgate"), roman("(1), "), bold("tollgate-check"), roman("(1)")]);
    Page { name: "gateway.toml.5".to_owned(), text: page.to_roff().into_bytes() }
}

/// A section for each table, an entry for each key.
fn keys(page: &mut Roff, path: &str, table: &Json) {
    let Some(properties) = table["properties"].as_object() else { return };
    let is_table =
        |key: &Json| key["properties"].is_object() || key["items"]["properties"].is_object();
    for (name, key) in properties.iter().filter(|(_, key)| !is_table(key)) {
        let mut head: Vec<Inline> = vec![bold(name.clone())];
        if let Some(default) = key.get("default") {
            head.push(roman(format!(" (default: {default})")));
        }
        page.control("TP", []);
        page.text(head);
        page.text([roman(key["description"].as_str().unwrap_or_default())]);
    }
    for (name, inner) in properties.iter().filter(|(_, key)| is_table(key)) {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let (heading, table) = match inner["properties"].is_object() {
            true => (format!("[{path}]"), inner),
            false => (format!("[[{path}]]"), &inner["items"]),
        };
        page.control("SH", [heading.as_str()]);
        page.text([roman(inner["description"].as_str().unwrap_or_default())]);
        keys(page, &path, table);
    }
}

const ABOUT: &str = "The file is the first of --config FILE, $TOLLGATE_CONFIG, ./gateway.toml and \
/etc/tollgate/gateway.toml. Later wins: defaults, the file, the environment (TOLLGATE_, the path in capitals, __ between its \
levels), flags. An unknown key is an error. Durations are \"30s\", \"1h30m\" or whole seconds; sizes \"64KiB\" or bytes.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::pages;

    #[test]
    fn every_command_and_every_key_has_its_place_in_the_manual() {
        let pages = pages(crate::cli::Cli::command());
        let names: Vec<&str> = pages.iter().map(|page| page.name.as_str()).collect();
        for name in ["tollgate.1", "tollgate-run.1", "tollgate-token-issue.1", "gateway.toml.5"] {
            assert!(names.contains(&name), "{name} of {names:?}");
        }
        let keys = String::from_utf8(pages.last().unwrap().text.clone()).unwrap();
        for text in ["[server]", "[[clients]]", "max_header_size", "[token.endpoints]", "32KiB"] {
            assert!(keys.contains(text), "{text}\n{keys}");
        }
    }
}
