//! `docs/cli.md` is generated from the command tree: every change of a
//! command, an option or a help text shows up there, in review.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use clap::{Arg, ArgAction, Command};
use openclaw::cli::args;

#[test]
fn the_reference_page_is_up_to_date() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    let wanted = render();
    let kept = fs::read_to_string(&page).unwrap_or_default();
    if kept != wanted {
        fs::write(&page, &wanted).unwrap();
        panic!("docs/cli.md did not fit the commands; it is written anew, look at the difference");
    }
}

fn render() -> String {
    let mut tree = args::tree();
    tree.build();
    let mut page = String::from(
        "# Command line\n\n\
         <!-- Generated from the command tree by `cargo test --test it cli::reference`. -->\n\n\
         Root flags may stand anywhere before `--`:\n\n\
         | flag | effect |\n|---|---|\n\
         | `--profile <name>` | use the state directory `~/.openclaw-<name>` |\n\
         | `--dev` | use the profile `dev`, port 19001; behind the word `gateway` it is the gateway's own flag |\n\
         | `--container <name>` | run the same command in that container, with podman or docker |\n\
         | `--log-level <level>` | `silent`, `fatal`, `error`, `warn`, `info`, `debug` or `trace` |\n\
         | `--no-color` | print without colours; so does `NO_COLOR` |\n\
         | `-V`, `-v`, `--version` | print the version |\n\n\
         With `--json` a command prints exactly one JSON document on stdout; everything else goes to stderr.\n",
    );
    describe(&tree, "openclaw", &mut page);
    page.push_str("\n## Not part of this gateway\n\n");
    for (command, instead) in args::elsewhere::ELSEWHERE {
        writeln!(page, "- `openclaw {command}`: {instead}.").unwrap();
    }
    page
}

fn describe(command: &Command, path: &str, page: &mut String) {
    for sub in
        command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
    {
        let path = format!("{path} {}", sub.get_name());
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(page, "\n## {path}\n\n{about}.").unwrap();
        let options: Vec<&Arg> = sub
            .get_arguments()
            .filter(|arg| !arg.is_hide_set() && arg.get_id() != "help" && !arg.is_positional())
            .collect();
        for arg in sub.get_positionals().filter(|arg| !arg.is_hide_set()) {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            writeln!(page, "\nArgument `{arg}`: {help}.").unwrap();
        }
        if !options.is_empty() {
            page.push_str("\n| option | effect |\n|---|---|\n");
        }
        for arg in options {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let default: Vec<String> = arg
                .get_default_values()
                .iter()
                .filter(|_| arg.get_action().takes_values())
                .map(|value| format!(" (default `{}`)", value.to_string_lossy()))
                .collect();
            writeln!(page, "| `{}` | {help}{} |", spelled(arg), default.concat()).unwrap();
        }
        describe(sub, &path, page);
    }
}

fn spelled(arg: &Arg) -> String {
    let mut text = String::new();
    if let Some(short) = arg.get_short() {
        write!(text, "-{short}, ").unwrap();
    }
    write!(text, "--{}", arg.get_long().unwrap_or_default()).unwrap();
    if matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) {
        let names = arg.get_value_names().unwrap_or_default();
        let names: Vec<String> = names.iter().map(|name| format!(" <{name}>")).collect();
        // A bar would end the cell.
        text.push_str(&names.concat().replace('|', "\\|"));
    }
    text
}

#[test]
fn every_command_and_option_explains_itself() {
    let mut tree = args::tree();
    tree.build();
    let mut silent = Vec::new();
    check(&tree, &mut silent);
    assert_eq!(silent, Vec::<String>::new());
}

fn check(command: &Command, silent: &mut Vec<String>) {
    for sub in command.get_subcommands() {
        if sub.get_about().is_none() {
            silent.push(sub.get_name().to_owned());
        }
        for arg in sub.get_arguments().filter(|arg| arg.get_help().is_none()) {
            silent.push(format!("{} {arg}", sub.get_name()));
        }
        check(sub, silent);
    }
}
