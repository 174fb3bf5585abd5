//! `memory …`: what agents wrote down.

use clap::{Args, Subcommand};

#[derive(Debug, Clone, Args)]
pub struct MemoryArgs {
    #[command(subcommand)]
    pub command: MemoryCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum MemoryCommand {
    /// Show the state of the index
    Status(StatusArgs),
    /// Take in what changed in the files
    Index(IndexArgs),
    /// Search the memory of an agent
    Search(SearchArgs),
}

#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Agent to look at; all of them by default
    #[arg(long, value_name = "id")]
    pub agent: Option<String>,
    /// Ask the provider of embeddings whether it answers
    #[arg(long)]
    pub deep: bool,
    /// Take in what changed first; implies `--deep`
    #[arg(long)]
    pub index: bool,
    /// With `--index`: read every file again
    #[arg(long)]
    pub force: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Log more
    #[arg(long)]
    pub verbose: bool,
}

#[derive(Debug, Clone, Args)]
pub struct IndexArgs {
    /// Agent to index; all of them by default
    #[arg(long, value_name = "id")]
    pub agent: Option<String>,
    /// Read every file again
    #[arg(long)]
    pub force: bool,
    /// Log more
    #[arg(long)]
    pub verbose: bool,
}

#[derive(Debug, Clone, Args)]
pub struct SearchArgs {
    /// What to look for
    #[arg(value_name = "query")]
    pub words: Option<String>,
    /// What to look for; wins over the words
    #[arg(long, value_name = "text")]
    pub query: Option<String>,
    /// Agent to ask; the default one if none is named
    #[arg(long, value_name = "id")]
    pub agent: Option<String>,
    /// Most results
    #[arg(long, value_name = "n")]
    pub max_results: Option<usize>,
    /// Lowest score, between 0 and 1
    #[arg(long, value_name = "n")]
    pub min_score: Option<f64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
