//! `nodes camera …`, `nodes canvas …`, `nodes screen …`: what a node sees and shows.

use clap::{Args, Subcommand};

use crate::cli::args::nodes::NodeArgs;

#[derive(Debug, Clone, Args)]
pub struct CameraArgs {
    #[command(subcommand)]
    pub command: CameraCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum CameraCommand {
    /// List the cameras of a node
    List(NodeArgs),
    /// Take a photo, and print where it is kept
    Snap(SnapArgs),
    /// Take a short video, and print where it is kept
    Clip(ClipArgs),
}

#[derive(Debug, Clone, Args)]
pub struct SnapArgs {
    #[command(flatten)]
    pub of: NodeArgs,
    /// Which camera: front, back or both
    #[arg(long, value_name = "front|back|both", default_value = "both")]
    pub facing: String,
    /// One camera, by its id in `nodes camera list`
    #[arg(long, value_name = "id")]
    pub device_id: Option<String>,
    /// Widest picture, in pixels
    #[arg(long, value_name = "px")]
    pub max_width: Option<String>,
    /// Quality of the JPEG, between 0 and 1
    #[arg(long, value_name = "0-1")]
    pub quality: Option<String>,
    /// Wait before the photo, in milliseconds
    #[arg(long, value_name = "ms")]
    pub delay_ms: Option<String>,
    /// How long the node may take, in milliseconds
    #[arg(long, value_name = "ms", default_value = "20000")]
    pub invoke_timeout: String,
}

#[derive(Debug, Clone, Args)]
pub struct ClipArgs {
    #[command(flatten)]
    pub of: NodeArgs,
    /// Which camera: front or back
    #[arg(long, value_name = "front|back", default_value = "front")]
    pub facing: String,
    /// One camera, by its id in `nodes camera list`
    #[arg(long, value_name = "id")]
    pub device_id: Option<String>,
    /// Length of the video, e.g. 3000 or 10s
    #[arg(long, value_name = "ms|10s|1m", default_value = "3000")]
    pub duration: String,
    /// Record no sound
    #[arg(long)]
    pub no_audio: bool,
    /// How long the node may take, in milliseconds
    #[arg(long, value_name = "ms", default_value = "90000")]
    pub invoke_timeout: String,
}

#[derive(Debug, Clone, Args)]
pub struct ScreenArgs {
    #[command(subcommand)]
    pub command: ScreenCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum ScreenCommand {
    /// Record the screen for a short while, and print where that is kept
    Record(RecordArgs),
}

#[derive(Debug, Clone, Args)]
pub struct RecordArgs {
    #[command(flatten)]
    pub of: NodeArgs,
    /// Number of the screen; 0 is the main one
    #[arg(long, value_name = "index", default_value = "0")]
    pub screen: String,
    /// Length of the recording, e.g. 10000 or 10s
    #[arg(long, value_name = "ms|10s", default_value = "10000")]
    pub duration: String,
    /// Pictures per second
    #[arg(long, value_name = "fps", default_value = "10")]
    pub fps: String,
    /// Record no sound
    #[arg(long)]
    pub no_audio: bool,
    /// File to write
    #[arg(long, value_name = "path")]
    pub out: Option<String>,
    /// How long the node may take, in milliseconds
    #[arg(long, value_name = "ms", default_value = "120000")]
    pub invoke_timeout: String,
}

#[derive(Debug, Clone, Args)]
pub struct CanvasArgs {
    #[command(subcommand)]
    pub command: CanvasCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum CanvasCommand {
    /// Take a picture of the canvas, and print where it is kept
    Snapshot(SnapshotArgs),
    /// Show the canvas
    Present(PresentArgs),
    /// Hide the canvas
    Hide(CanvasNodeArgs),
    /// Load an address in the canvas
    Navigate(NavigateArgs),
    /// Run JavaScript in the canvas
    Eval(EvalArgs),
    /// Draw with A2UI
    A2ui(A2uiArgs),
}

#[derive(Debug, Clone, Args)]
pub struct CanvasNodeArgs {
    #[command(flatten)]
    pub of: NodeArgs,
    /// How long the node may take, in milliseconds
    #[arg(long, value_name = "ms")]
    pub invoke_timeout: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct SnapshotArgs {
    #[command(flatten)]
    pub of: NodeArgs,
    /// Kind of picture
    #[arg(long, value_name = "png|jpg|jpeg", default_value = "jpg")]
    pub format: String,
    /// Widest picture, in pixels
    #[arg(long, value_name = "px")]
    pub max_width: Option<String>,
    /// Quality of the JPEG, between 0 and 1
    #[arg(long, value_name = "0-1")]
    pub quality: Option<String>,
    /// How long the node may take, in milliseconds
    #[arg(long, value_name = "ms", default_value = "20000")]
    pub invoke_timeout: String,
}

#[derive(Debug, Clone, Args)]
pub struct PresentArgs {
    #[command(flatten)]
    pub on: CanvasNodeArgs,
    /// Address or path to load
    #[arg(long, value_name = "urlOrPath")]
    pub target: Option<String>,
    /// Left edge, in pixels
    #[arg(long, value_name = "px")]
    pub x: Option<String>,
    /// Upper edge, in pixels
    #[arg(long, value_name = "px")]
    pub y: Option<String>,
    /// Width, in pixels
    #[arg(long, value_name = "px")]
    pub width: Option<String>,
    /// Height, in pixels
    #[arg(long, value_name = "px")]
    pub height: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct NavigateArgs {
    /// Address or path to load
    #[arg(value_name = "url")]
    pub target: String,
    #[command(flatten)]
    pub on: CanvasNodeArgs,
}

#[derive(Debug, Clone, Args)]
pub struct EvalArgs {
    /// The script
    #[arg(value_name = "js")]
    pub script: Option<String>,
    /// The script, as an option
    #[arg(long, value_name = "code")]
    pub js: Option<String>,
    #[command(flatten)]
    pub on: CanvasNodeArgs,
}

#[derive(Debug, Clone, Args)]
pub struct A2uiArgs {
    #[command(subcommand)]
    pub command: A2uiCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum A2uiCommand {
    /// Draw what a file of A2UI lines says, or one text
    Push(A2uiPushArgs),
    /// Start over with an empty canvas
    Reset(CanvasNodeArgs),
}

#[derive(Debug, Clone, Args)]
pub struct A2uiPushArgs {
    /// File with one JSON message per line
    #[arg(long, value_name = "path")]
    pub jsonl: Option<String>,
    /// Text to show
    #[arg(long, value_name = "text")]
    pub text: Option<String>,
    #[command(flatten)]
    pub on: CanvasNodeArgs,
}
