//! Makes manual pages and completions from the command lines.
#![forbid(unsafe_code)]

use clap::Command;
use clap::builder::Resettable;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::error::{Error, Result};

/// Where a shell looks for the completions of `name`, below the prefix; `None` for shells without installed
/// completions.
pub(super) fn completion_file(shell: Shell, name: &str) -> Option<String> {
    match shell {
        Shell::Bash => Some(format!("share/bash-completion/completions/{name}")),
        Shell::Zsh => Some(format!("share/zsh/site-functions/_{name}")),
        Shell::Fish => Some(format!("share/fish/vendor_completions.d/{name}.fish")),
        _ => None,
    }
}

/// Makes the completions of a command.
#[must_use]
pub fn completions(mut command: Command, shell: Shell) -> Vec<u8> {
    let name = command.get_name().to_string();
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut text);
    text
}

/// Makes a page for a command and for each of its subcommands, each with its file name.
///
/// # Errors
/// When the text cannot be formatted; no command of pyshm has such a text.
pub(super) fn pages(mut command: Command) -> Result<Vec<(String, Vec<u8>)>> {
    // `build` gives subcommands their full names.
    command.build();
    let mut pages = Vec::new();
    add_pages(&command, &mut pages)?;
    Ok(pages)
}

fn add_pages(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let visible = |sub: &&Command| !sub.is_hide_set() && sub.get_name() != "help";
    for sub in command.get_subcommands().filter(visible) {
        add_pages(sub, pages)?;
    }
    let more = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    // clap_mangen would fill the text into one section, in which examples cannot be read.
    let page = Man::new(command.clone().after_help(Resettable::Reset));
    let page = page.source(concat!("pyshm ", env!("CARGO_PKG_VERSION"))).manual("pyshm");
    let mut text = Vec::new();
    let rendered = page.render(&mut text).and_then(|()| sections(&more).to_writer(&mut text));
    rendered.map_err(Error::system("make a manual page"))?;
    pages.push((page.get_filename(), text));
    Ok(())
}

/// Formats the text after a command's options. A paragraph that begins with the name of a section starts this section.
/// Indented lines are not filled.
fn sections(text: &str) -> Roff {
    let names = [
        ("Examples:", "EXAMPLES"),
        ("Environment:", "ENVIRONMENT"),
        ("Exit codes:", "EXIT STATUS"),
        ("Exit status:", "EXIT STATUS"),
    ];
    let mut roff = Roff::new();
    for (at, paragraph) in text.split("\n\n").filter(|text| !text.trim().is_empty()).enumerate() {
        let named = names
            .iter()
            .find_map(|(name, title)| paragraph.strip_prefix(name).map(|rest| (*title, rest)));
        let (title, body) = named.unwrap_or(("NOTES", paragraph));
        if named.is_some() || at == 0 {
            roff.control("SH", [title]);
        } else {
            roff.control("PP", []);
        }
        for line in body.lines().filter(|line| !line.is_empty()) {
            if line.starts_with(' ') && title != "EXIT STATUS" {
                roff.control("nf", []).text([roman(line)]).control("fi", []);
            } else {
                roff.text([roman(line.trim_start())]);
            }
        }
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_visible_command_gets_a_page_and_examples_stay_in_their_lines() {
        let sub = Command::new("sub").after_help(
            "Prose.\n\nExamples:\n  a  b\n  c\n\nA file:\n\n  d  e\n\nExit status: 0 done",
        );
        let command = Command::new("top").subcommands([sub, Command::new("secret").hide(true)]);
        let pages = pages(command).unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["top-sub.1", "top.1"]);
        let page = String::from_utf8(pages[0].1.clone()).unwrap();
        let after = &page[page.find(".SH NOTES").unwrap()..];
        let wanted = ".SH NOTES\nProse.\n.SH EXAMPLES\n.nf\n  a  b\n.fi\n.nf\n  c\n.fi\n.PP\nA file:\n.PP\n.nf\n  d  e\n.fi\n.SH \"EXIT STATUS\"\n0 done\n";
        assert_eq!(after, wanted);
    }
}
