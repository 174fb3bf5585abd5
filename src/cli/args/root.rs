//! Flags that belong to the program, not to a command. They may stand anywhere
//! before `--` and are taken out before the commands are parsed, because the
//! profile decides which files every later step reads.

/// The root flags and what is left for the command parser.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Root {
    pub profile: Option<String>,
    pub container: Option<String>,
    pub log_level: Option<String>,
    pub no_color: bool,
    pub version: bool,
    pub rest: Vec<String>,
}

/// A root flag that makes no sense. The texts are part of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    #[error("Cannot combine --dev with --profile")]
    DevAndProfile,
    #[error("--profile requires a value")]
    ProfileWithoutValue,
    #[error("Invalid --profile (use letters, numbers, \"_\", \"-\" only)")]
    InvalidProfile,
    #[error("--container requires a value")]
    ContainerWithoutValue,
    #[error("--container cannot be combined with --profile/--dev")]
    ContainerAndProfile,
    #[error("--log-level requires a value")]
    LogLevelWithoutValue,
}

/// Takes the root flags out of `args` (without the program name).
pub fn parse(args: Vec<String>) -> Result<Root, RootError> {
    let mut root = Root::default();
    let mut dev = false;
    let mut command: Option<String> = None;
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let (name, inline) = match arg.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
            _ => (arg.as_str(), None),
        };
        match name {
            "--" => {
                root.rest.push(arg);
                root.rest.extend(args);
                break;
            }
            "--profile" => {
                root.profile = Some(value(inline, &mut args, RootError::ProfileWithoutValue)?);
            }
            "--container" => {
                root.container = Some(value(inline, &mut args, RootError::ContainerWithoutValue)?);
            }
            "--log-level" => {
                root.log_level = Some(value(inline, &mut args, RootError::LogLevelWithoutValue)?);
            }
            // Behind the word `gateway` it is the gateway's own flag.
            "--dev" if inline.is_none() && command.as_deref() != Some("gateway") => dev = true,
            "--no-color" if inline.is_none() => root.no_color = true,
            "--update" if command.is_none() => {
                command = Some("update".to_owned());
                root.rest.push("update".to_owned());
            }
            "-V" | "--version" | "-v" if command.is_none() => root.version = true,
            _ => {
                if command.is_none() && !arg.starts_with('-') {
                    command = Some(arg.clone());
                }
                root.rest.push(arg);
            }
        }
    }
    if dev && root.profile.is_some() {
        return Err(RootError::DevAndProfile);
    }
    if root.container.is_some() && (dev || root.profile.is_some()) {
        return Err(RootError::ContainerAndProfile);
    }
    if dev {
        root.profile = Some("dev".to_owned());
    }
    if root.profile.as_deref().is_some_and(|name| !is_profile_name(name)) {
        return Err(RootError::InvalidProfile);
    }
    Ok(root)
}

/// Whether `name` may be part of a directory, a unit and a label.
pub fn is_profile_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= 64
        && bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn value(
    inline: Option<String>,
    args: &mut impl Iterator<Item = String>,
    missing: RootError,
) -> Result<String, RootError> {
    inline
        .or_else(|| args.next().filter(|next| !next.starts_with('-')))
        .filter(|value| !value.trim().is_empty())
        .ok_or(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn flags_are_found_before_and_after_the_command() {
        for line in ["--profile zed config file", "config file --profile=zed"] {
            let root = parse(words(line)).unwrap();
            assert_eq!(root.profile.as_deref(), Some("zed"), "{line}");
            assert_eq!(root.rest, ["config", "file"], "{line}");
        }
    }

    #[test]
    fn dev_is_a_profile_before_and_a_gateway_flag_behind_the_word_gateway() {
        let root = parse(words("--dev gateway --allow-unconfigured")).unwrap();
        assert_eq!(root.profile.as_deref(), Some("dev"));
        assert_eq!(root.rest, ["gateway", "--allow-unconfigured"]);
        let root = parse(words("gateway run --dev")).unwrap();
        assert_eq!(root.profile, None);
        assert_eq!(root.rest, ["gateway", "run", "--dev"]);
    }

    #[test]
    fn nothing_behind_two_dashes_is_a_root_flag() {
        let root = parse(words("agent -- --profile x")).unwrap();
        assert_eq!(root.profile, None);
        assert_eq!(root.rest, ["agent", "--", "--profile", "x"]);
    }

    #[test]
    fn version_is_a_root_flag_only_before_the_command() {
        for line in ["-V", "--version", "-v"] {
            assert!(parse(words(line)).unwrap().version, "{line}");
        }
        assert!(!parse(words("skills list -v")).unwrap().version);
    }

    #[test]
    fn every_bad_combination_has_its_text() {
        let cases = [
            ("--profile a --dev status", "Cannot combine --dev with --profile"),
            ("--profile", "--profile requires a value"),
            ("--profile -x", "--profile requires a value"),
            ("--profile a/b", "Invalid --profile (use letters, numbers, \"_\", \"-\" only)"),
            ("--container", "--container requires a value"),
            ("--container c --dev", "--container cannot be combined with --profile/--dev"),
            ("--log-level", "--log-level requires a value"),
        ];
        for (line, text) in cases {
            assert_eq!(parse(words(line)).unwrap_err().to_string(), text, "{line}");
        }
    }
}
