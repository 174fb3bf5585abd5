//! The manual pages that packaging asks for: one per group of commands, from the
//! command tree, and openclaw.json(5), from the table of keys.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Write as _};

use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use crate::base::VERSION;
use crate::cli::args::shell::ManArgs;
use crate::cli::args::tree;
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::config::reload::plan::{Action, action_for};
use crate::config::schema::table::{Kind, Shape, Table, table};

const MANUAL: &str = "OpenClaw";

/// Writes every page into a directory.
pub fn write(args: &ManArgs) -> CommandResult {
    let wrong = |err: io::Error| Failure::new(format!("Error: {}: {err}", args.dir.display()));
    fs::create_dir_all(&args.dir).map_err(wrong)?;
    let mut root = tree().disable_help_subcommand(true);
    root.build();
    let groups: Vec<clap::Command> = visible(&root).cloned().collect();
    for command in groups.into_iter().chain([root]) {
        let page = Page::of(command);
        fs::write(args.dir.join(page.man.get_filename()), page.render().map_err(wrong)?)
            .map_err(wrong)?;
    }
    fs::write(args.dir.join("openclaw.json.5"), file_page(table()).render()).map_err(wrong)?;
    Ok(Outcome::default())
}

fn visible(command: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    command.get_subcommands().filter(|sub| !sub.is_hide_set())
}

/// The page of a group of commands, or of all of them.
struct Page {
    name: String,
    man: Man,
    command: clap::Command,
}

impl Page {
    fn of(command: clap::Command) -> Self {
        let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
        let man = Man::new(command.clone())
            .title(name.to_uppercase())
            .source(format!("openclaw {VERSION}"))
            .manual(MANUAL);
        Self { name, man, command }
    }

    fn render(&self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        if self.name == "openclaw" {
            self.man.render(&mut text)?;
        } else {
            self.man.render_title(&mut text)?;
            self.man.render_name_section(&mut text)?;
            write_usage(&self.man, &self.command, &mut text)?;
            let mut waiting: Vec<&clap::Command> = visible(&self.command).collect();
            waiting.reverse();
            while let Some(command) = waiting.pop() {
                let below: Vec<&clap::Command> = visible(command).collect();
                waiting.extend(below.into_iter().rev());
                write_below(command, &mut text)?;
            }
        }
        let mut extra = Roff::new();
        match self.name.as_str() {
            "openclaw" => {
                section(&mut extra, "GLOBAL OPTIONS", GLOBAL_OPTIONS);
                section(&mut extra, "ENVIRONMENT", ENVIRONMENT);
                section(&mut extra, "FILES", FILES);
                section(&mut extra, "EXIT STATUS", EXITS);
                see_also(
                    &mut extra,
                    &["openclaw-gateway(1)", "openclaw.json(5)", "systemd.unit(5)"],
                );
            }
            "openclaw-gateway" => {
                section(&mut extra, "EXIT STATUS", GATEWAY_EXITS);
                see_also(&mut extra, &["openclaw(1)", "openclaw.json(5)", "systemd.socket(5)"]);
            }
            _ => {}
        }
        write!(text, "{}", extra.to_roff())?;
        Ok(text)
    }
}

fn write_usage(man: &Man, command: &clap::Command, text: &mut Vec<u8>) -> io::Result<()> {
    man.render_synopsis_section(text)?;
    man.render_description_section(text)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(text)?;
    }
    if command.get_after_long_help().or(command.get_after_help()).is_some() {
        man.render_extra_section(text)?;
    }
    Ok(())
}

/// A command of the group, as a section with the parts of a page below it.
fn write_below(command: &clap::Command, text: &mut Vec<u8>) -> io::Result<()> {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let mut head = Roff::new();
    head.control("SH", [name.to_uppercase().as_str()]);
    write!(text, "{}", head.to_roff())?;
    let mut parts = Vec::new();
    write_usage(&Man::new(command.clone()), command, &mut parts)?;
    for line in String::from_utf8_lossy(&parts).lines() {
        let part = line.strip_prefix(".SH ").map(|title| format!(".SS {title}"));
        writeln!(text, "{}", part.as_deref().unwrap_or(line))?;
    }
    Ok(())
}

const GLOBAL_OPTIONS: &[(&str, &str)] = &[
    ("--profile NAME", "Use the state and the service of this profile: ~/.openclaw-NAME."),
    ("--dev", "The profile dev, with a gateway on port 19001 that needs no configuration."),
    ("--log-level LEVEL", "silent, fatal, error, warn, info, debug or trace."),
    ("--no-color", "No colours."),
    ("-V, --version", "Print version and commit."),
];

const ENVIRONMENT: &[(&str, &str)] = &[
    ("OPENCLAW_STATE_DIR", "The state directory instead of ~/.openclaw."),
    ("OPENCLAW_CONFIG_PATH", "The configuration instead of openclaw.json in it."),
    ("OPENCLAW_GATEWAY_PORT", "The port instead of 18789."),
    ("OPENCLAW_GATEWAY_TOKEN, OPENCLAW_GATEWAY_PASSWORD", "What clients present to the gateway."),
    ("OPENCLAW_PROFILE", "The same as --profile."),
];

const FILES: &[(&str, &str)] = &[
    ("~/.openclaw/openclaw.json", "The configuration; see openclaw.json(5)."),
    ("~/.openclaw/.env", "Variables, keys of model providers for example; mode 0600."),
    ("/usr/lib/systemd/user/openclaw-gateway.service", "The unit of the package, for every user."),
    ("~/.config/systemd/user/openclaw-gateway.service.d", "What differs on this account."),
    ("/var/lib/openclaw", "The state of the system service."),
];

const EXITS: &[(&str, &str)] = &[
    ("0", "Done."),
    ("1", "Failed; the reason is on standard error."),
    ("2", "The command line makes no sense, or the command is not there yet."),
];

const GATEWAY_EXITS: &[(&str, &str)] = &[
    ("0", "Stopped in order."),
    ("1", "Refused in a terminal, or the runs did not end in time at a stop."),
    ("75", "May pass by itself; the service manager tries again."),
    (
        "78",
        "Another gateway has the place, or there is no socket to answer on; the service manager does not try again.",
    ),
    ("79", "Nobody talked for as long as --idle-exit says."),
];

fn section(page: &mut Roff, title: &str, entries: &[(&str, &str)]) {
    page.control("SH", [title]);
    for (name, text) in entries {
        entry(page, vec![bold(*name)], *text);
    }
}

fn entry(page: &mut Roff, head: Vec<Inline>, text: impl Into<String>) {
    page.control("TP", []).text(head).text([roman(text)]);
}

fn see_also(page: &mut Roff, pages: &[&str]) {
    page.control("SH", ["SEE ALSO"]).text([roman(pages.join(", "))]);
}

/// openclaw.json(5).
fn file_page(table: &Table) -> Roff {
    let mut page = Roff::new();
    let source = format!("openclaw {VERSION}");
    page.control("TH", ["OPENCLAW.JSON", "5", "", source.as_str(), MANUAL]);
    // Lists of values have few places to break at and cannot be justified.
    page.control("ad", ["l"]);
    page.control("SH", ["NAME"])
        .text([roman("openclaw.json - configuration of the openclaw gateway")]);
    page.control("SH", ["SYNOPSIS"]).text([italic("~/.openclaw/openclaw.json")]);
    page.control("SH", ["DESCRIPTION"]);
    for text in [
        "The file is JSON5: comments, trailing commas and unquoted keys are fine. Every key may be absent. Keys that are not listed here are refused, with their path. ${NAME} in a string stands for a variable of the environment; $${ is a plain ${. The key $include, in any object, names a file or a list of files below the same directory that are merged in.",
        "A secret is a string, or an object with source (env, file or exec), provider and id that says where it is kept.",
        "The running gateway follows the file. What a change needs more than that is said with the key. A file with an error in it changes nothing in a running gateway.",
        "In the list, * stands for a name of your own and [] for the items of a list. `openclaw config validate` checks the file, `openclaw config schema` prints the same table as JSON Schema.",
    ] {
        page.text([roman(text)]).control("PP", []);
    }
    page.control("SH", ["EXAMPLE"]).control("nf", []);
    page.text([roman(EXAMPLE)]).control("fi", []);
    let mut listing = Listing { table, page, seen: HashMap::new(), told: BTreeMap::new() };
    for edge in table.root().named() {
        listing.page.control("SH", [edge.key]);
        listing.key(edge.key, table.shape(edge), edge.required);
    }
    let mut page = listing.page;
    see_also(&mut page, &["openclaw(1)", "openclaw-config(1)"]);
    page
}

const EXAMPLE: &str = "{
  gateway: { mode: \"local\", port: 18789, auth: { mode: \"token\" } },
  agents: { defaults: { model: \"anthropic/claude-opus-4-6\" } },
}";

/// Walks the table; a shape that occurs again refers to its first place, and an
/// account of a channel to the channel.
struct Listing<'t> {
    table: &'t Table,
    page: Roff,
    seen: HashMap<*const Shape, String>,
    told: BTreeMap<String, String>,
}

const ACCOUNT: &str = ".accounts.*";

impl Listing<'_> {
    fn key(&mut self, path: &str, shape: &Shape, required: bool) {
        let mut words = vec![self.describe(shape)];
        if required {
            words.push("required".to_owned());
        }
        if action_for(path) == Action::Restart {
            words.push("a change needs a restart".to_owned());
        }
        let again = self.seen.get(&std::ptr::from_ref(shape)).cloned();
        let is_leaf = again.is_some() || self.children(shape).is_empty();
        if let Some((channel, key)) = path.split_once(&format!("{ACCOUNT}."))
            && is_leaf
            && self.told.get(&format!("{channel}.{key}")) == Some(&words.join("; "))
        {
            return;
        }
        self.told.insert(path.to_owned(), words.join("; "));
        if let Some(channel) = path.strip_suffix(ACCOUNT) {
            words.push(self.keys_of_an_account(channel, shape));
        }
        if let Some(place) = &again {
            words.push(format!("the same keys as {place}"));
        }
        let text = words.join("; ") + ".";
        // That there is something below is seen below.
        if text != "object." || is_leaf || !path.contains('.') {
            entry(&mut self.page, vec![bold(path)], text);
        }
        if again.is_some() {
            return;
        }
        if !self.children(shape).is_empty() {
            self.seen.insert(std::ptr::from_ref(shape), path.to_owned());
        }
        self.below(path, shape);
    }

    fn keys_of_an_account(&self, channel: &str, shape: &Shape) -> String {
        let own: Vec<&str> = self.children(shape).iter().map(|(key, ..)| *key).collect();
        let beside =
            self.told.keys().filter_map(|path| path.strip_prefix(channel)?.strip_prefix('.'));
        let missing: Vec<&str> =
            beside.filter(|key| !key.contains(['.', '[']) && !own.contains(key)).collect();
        format!("the keys of {channel} except {}, and those that follow here", missing.join(", "))
    }

    fn below(&mut self, path: &str, shape: &Shape) {
        let mut children = self.children(shape);
        // An account is told by what the channel was told to have.
        children.sort_by_key(|(key, ..)| *key == "accounts");
        for (key, child, required) in children {
            match key {
                // Alternatives and items are no level of their own.
                "|" => self.below(path, child),
                "[]" => self.below(&format!("{path}[]"), child),
                key => self.key(&format!("{path}.{key}"), child, required),
            }
        }
    }

    fn children<'s>(&self, shape: &'s Shape) -> Vec<(&'static str, &'s Shape, bool)>
    where
        Self: 's,
    {
        shape.edges.iter().map(|edge| (edge.key, self.table.shape(edge), edge.required)).collect()
    }

    /// What a value must look like, in words.
    fn describe(&self, shape: &Shape) -> String {
        let plain = match shape.kind {
            Kind::Any => "any value",
            Kind::Null => "null",
            Kind::Bool => "true or false",
            Kind::Int => "whole number",
            Kind::Number => "number",
            Kind::String => "string",
            Kind::Secret => "secret",
            Kind::Ref => "reference to a secret",
            Kind::Strict | Kind::Object => "object",
            Kind::Array => {
                let items = shape.edges.first().map(|edge| self.describe(self.table.shape(edge)));
                return bounded(format!("list of: {}", items.unwrap_or_default()), shape);
            }
            Kind::Enum | Kind::Literals => {
                return shape.literals().collect::<Vec<_>>().join(" | ");
            }
            Kind::Union | Kind::OneOf => {
                let mut parts: Vec<String> = Vec::new();
                for edge in &shape.edges {
                    let part = self.describe(self.table.shape(edge));
                    if !parts.contains(&part) {
                        parts.push(part);
                    }
                }
                return parts.join(", or ");
            }
        };
        bounded(plain.to_owned(), shape)
    }
}

fn bounded(text: String, shape: &Shape) -> String {
    if shape.bounds.is_empty() { text } else { format!("{text} ({})", shape.bounds) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        write(&ManArgs { dir: dir.path().to_owned() }).unwrap();
        dir
    }

    #[test]
    fn every_group_of_commands_gets_a_manual_page() {
        let dir = pages();
        let names: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        for page in ["openclaw.1", "openclaw-gateway.1", "openclaw.json.5"] {
            assert!(names.iter().any(|name| name == page), "{page}");
        }
        let text = fs::read_to_string(dir.path().join("openclaw-gateway.1")).unwrap();
        assert_eq!(text.matches(".SH \"OPENCLAW GATEWAY STATUS\"").count(), 1, "{text}");
        assert!(text.contains("require\\-rpc") && !text.contains("gateway\\-status(1)"), "{text}");
        assert!(!names.iter().any(|name| name.contains("__man")), "{names:?}");
        for command in tree().get_subcommands().filter(|command| !command.is_hide_set()) {
            let page = format!("openclaw-{}.1", command.get_name());
            assert!(names.contains(&page), "{page}");
        }
    }

    #[test]
    fn exit_codes_are_in_the_manual() {
        let text = fs::read_to_string(pages().path().join("openclaw-gateway.1")).unwrap();
        assert!(text.contains(".SH \"EXIT STATUS\""), "{text}");
        assert!(["75", "78", "79"].iter().all(|code| text.contains(code)), "{text}");
    }

    #[test]
    fn every_key_of_the_file_is_in_its_page_once() {
        let text = fs::read_to_string(pages().path().join("openclaw.json.5")).unwrap();
        for part in [
            "\\fBgateway.port\\fR\nwhole number",
            "\\fBgateway.auth.token\\fR\nsecret",
            "\\fBagents.list[].id\\fR\nstring; required",
        ] {
            assert!(text.contains(part), "{part}");
        }
        let port = text.split("\\fBgateway.port\\fR\n").nth(1).unwrap();
        assert!(port.lines().next().unwrap().ends_with("a change needs a restart."), "{port}");
        let account = text.split("\\fBchannels.irc.accounts.*\\fR\n").nth(1).unwrap();
        let says = "object; the keys of channels.irc except accounts, defaultAccount, and those that follow here.";
        assert_eq!(account.lines().next().unwrap(), says);
        assert!(!text.contains("\\fBchannels.irc.accounts.*.nick"), "told twice");
        assert!(
            text.contains("\\fBchannels.whatsapp.accounts.*.authDir\\fR"),
            "of the account alone"
        );
        for edge in table().root().named() {
            assert_eq!(text.matches(&format!("\\fB{}\\fR\n", edge.key)).count(), 1, "{}", edge.key);
        }
    }
}
