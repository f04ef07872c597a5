//! Names as acquisition programs write them, with the pattern, axes and coordinates a person of the field expects.

/// One way of naming files, with what its names mean.
pub(crate) struct Scheme {
    /// Which of the known schemes, with a letter for its variants.
    pub(crate) name: &'static str,
    pub(crate) pattern: &'static str,
    pub(crate) layout: Option<&'static str>,
    /// Name and labels of each axis, in the pattern's order.
    pub(crate) axes: Vec<(&'static str, Vec<String>)>,
    /// UDUNITS name and values of the axes that have coordinates.
    pub(crate) coordinates: Vec<(&'static str, &'static str, Vec<f64>)>,
    /// Row-major over the axes.
    pub(crate) names: Vec<String>,
    /// Files of the same folder that belong to something else.
    pub(crate) strangers: Vec<String>,
}

impl Scheme {
    /// A scheme whose name at every position of its axes is given by `name`.
    fn new(
        label: &'static str,
        pattern: &'static str,
        axes: Vec<(&'static str, Vec<String>)>,
        name: impl Fn(&[usize]) -> String,
    ) -> Self {
        let lengths: Vec<usize> = axes.iter().map(|a| a.1.len()).collect();
        let total: usize = lengths.iter().product();
        let names = (0..total).map(|cell| name(&unravel(cell, &lengths))).collect();
        Self { name: label, pattern, layout: None, axes, coordinates: Vec::new(), names, strangers: Vec::new() }
    }

    fn layout(mut self, layout: &'static str) -> Self {
        self.layout = Some(layout);
        self
    }

    fn measured(mut self, axis: &'static str, unit: &'static str, values: Vec<f64>) -> Self {
        self.coordinates.push((axis, unit, values));
        self
    }

    fn strangers(mut self, names: &[&str]) -> Self {
        self.strangers = names.iter().map(|n| (*n).to_owned()).collect();
        self
    }
}

pub(crate) fn unravel(cell: usize, lengths: &[usize]) -> Vec<usize> {
    let mut rest = cell;
    let mut at: Vec<usize> = lengths
        .iter()
        .rev()
        .map(|length| {
            let i = rest % length;
            rest /= length;
            i
        })
        .collect();
    at.reverse();
    at
}

/// Labels `first`, `first + step`, ... with at least `width` digits.
fn by(first: usize, step: usize, count: usize, width: usize) -> Vec<String> {
    (0..count).map(|i| format!("{:0width$}", first + i * step)).collect()
}

fn from(first: usize, count: usize, width: usize) -> Vec<String> {
    by(first, 1, count, width)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

fn scaled(step: f64, count: usize) -> Vec<f64> {
    (0..count).map(|i| step * i as f64).collect()
}

/// 36 characters that depend on the numbers alone and begin with a digit more often than not.
pub(crate) fn guid(parts: &[usize]) -> String {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut hex = String::new();
    for part in parts.iter().chain(&[1, 2]) {
        state = (state ^ (*part as u64 + 1)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        state ^= state >> 29;
        hex.push_str(&format!("{state:016X}"));
    }
    let from = hex.len() - 32;
    let h = &hex[from..];
    format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
}

const NM: [usize; 3] = [488, 560, 642];

/// A lattice light-sheet name without its beginning and end.
fn llsm(camera: &str, ch: usize, t: usize, nm: usize, x: usize, y: usize) -> String {
    let ms = t * 43_749;
    format!(
        "Cam{camera}_ch{ch}_CAM1_stack{t:04}_{nm}nm_{ms:07}msec_{:010}msecAbs_{x:03}x_{y:03}y_000z_0000t",
        1_423_040 + ms + ch * 7 + x + y
    )
}

pub(crate) fn all() -> Vec<Scheme> {
    let mut all = light_sheets();
    all.extend(plates());
    all.extend(tiles());
    all.extend(series());
    all
}

fn light_sheets() -> Vec<Scheme> {
    let cameras = [("A", 0), ("A", 1), ("B", 0)];
    vec![
        Scheme::new(
            "1",
            "_ch{c}_*_stack{t}_{c@nm}nm_{t@ms}msec_*_{x}x_{y}y_",
            vec![("c", from(0, 3, 1)), ("t", from(0, 20, 4)), ("x", from(0, 2, 3)), ("y", from(0, 3, 3))],
            |i| format!("ex6-2_{}.tif", llsm("A", i[0], i[1], NM[i[0]], i[2], i[3])),
        )
        .measured("c", "nanometer", vec![488.0, 560.0, 642.0])
        .measured("t", "millisecond", scaled(43_749.0, 20)),
        Scheme::new(
            "2",
            "_Iter_{iter:4}_{sub:4}_Cam{c.camera:[AB]}_ch{c.channel}_*_{x}x_{y}y_",
            vec![
                ("iter", from(0, 4, 4)),
                ("sub", from(0, 5, 4)),
                ("c", words(&["A-0", "A-1", "B-0"])),
                ("x", from(0, 1, 3)),
                ("y", from(0, 6, 3)),
            ],
            |i| {
                let (camera, ch) = cameras[i[2]];
                format!("Scan_Iter_{:04}_{:04}_{}.tif", i[0], i[1], llsm(camera, ch, 0, NM[i[2]], i[3], i[4]))
            },
        ),
        Scheme::new(
            "3",
            "RAW_exp{p}_Cam{c.camera:[AB]}_ch{c.channel}_*_stack{t}_{c@nm}nm_*_{_:4}t.tif",
            vec![("p", from(1, 4, 2)), ("c", words(&["A-0", "A-1", "B-0"])), ("t", from(0, 25, 4))],
            |i| format!("RAW_exp{:02}_{}.tif", i[0] + 1, llsm(cameras[i[1]].0, cameras[i[1]].1, i[2], NM[i[1]], 0, 0)),
        )
        .measured("c", "nanometer", vec![488.0, 560.0, 642.0])
        .strangers(&[
            "RAW_exp01_CamA_ch0_CAM1_stack0000_488nm_0000000msec_0001423040msecAbs_000x_000y_000z_0000t_combined.tif",
            "RAW_exp01_CamA_ch0_CAM1_stack0000_488nm_0000000msec_0001423040msecAbs_000x_000y_000z_0000t_cropped.tif",
            "AVG_DF400_CamA_10ms.tif",
        ]),
        Scheme::new(
            "4",
            "_ch{c}_*_stack{t}_*t<_part{z}>.tif",
            vec![("c", from(0, 3, 1)), ("t", from(0, 20, 4)), ("z", words(&["none", "0001", "0002", "0003", "0004"]))],
            |i| {
                let part = if i[2] == 0 { String::new() } else { format!("_part{:04}", i[2]) };
                format!("ex6-2_{}{part}.tif", llsm("A", i[0], i[1], NM[i[0]], 0, 0))
            },
        ),
        Scheme::new(
            "5",
            "_ch{c}_stack{t}_{c@nm}nm_{t@ms}msec_",
            vec![("c", from(0, 2, 1)), ("t", from(0, 150, 4))],
            |i| {
                let ms = i[1] * 8450;
                format!(
                    "488_300mW_642_350mW_ch{}_stack{:04}_{}nm_{ms:07}msec_{:010}msecAbs.tif",
                    i[0],
                    i[1],
                    [488, 642][i[0]],
                    13_822_133 + ms
                )
            },
        )
        .measured("c", "nanometer", vec![488.0, 642.0])
        .measured("t", "millisecond", scaled(8450.0, 150)),
        Scheme::new(
            "26",
            "_Mag{_mag:float}x_Tile{tile}_Ch{c@nm}_Sh{shutter}_Rot{angle@deg}.",
            vec![
                ("tile", from(0, 8, 1)),
                ("c", words(&["405", "488", "561", "640"])),
                ("shutter", from(0, 2, 1)),
                ("angle", by(0, 45, 8, 1)),
            ],
            |i| format!("name_Mag1.25x_Tile{}_Ch{}_Sh{}_Rot{}.tiff", i[0], [405, 488, 561, 640][i[1]], i[2], i[3] * 45),
        )
        .measured("c", "nanometer", vec![405.0, 488.0, 561.0, 640.0])
        .measured("angle", "degree", scaled(45.0, 8)),
        Scheme::new(
            "27",
            "SPC{specimen}_TM{t}_ANG{angle@deg}_CM{camera}_CHN{c}_PH{phase}.stack",
            vec![
                ("specimen", from(0, 1, 2)),
                ("t", from(0, 60, 5)),
                ("angle", by(0, 90, 2, 3)),
                ("camera", from(0, 2, 1)),
                ("c", from(0, 2, 2)),
                ("phase", from(0, 1, 1)),
            ],
            |i| format!("SPC{:02}_TM{:05}_ANG{:03}_CM{}_CHN{:02}_PH{}.stack", i[0], i[1], i[2] * 90, i[3], i[4], i[5]),
        )
        .measured("angle", "degree", vec![0.0, 90.0]),
        Scheme::new(
            "29a",
            "spim_TL{t}_Angle{angle@deg}.lsm",
            vec![("t", from(1, 50, 1)), ("angle", by(0, 45, 8, 1))],
            |i| format!("spim_TL{}_Angle{}.lsm", i[0] + 1, i[1] * 45),
        )
        .measured("angle", "degree", scaled(45.0, 8)),
        Scheme::new(
            "29b",
            "spim_TL{t}_Angle{angle@deg}_Ch{c}.tif",
            vec![("t", from(1, 30, 1)), ("angle", by(0, 45, 8, 1)), ("c", from(0, 2, 1))],
            |i| format!("spim_TL{}_Angle{}_Ch{}.tif", i[0] + 1, i[1] * 45, i[2]),
        )
        .measured("angle", "degree", scaled(45.0, 8)),
    ]
}

fn plates() -> Vec<Scheme> {
    let wells = ["A01", "A02", "B01", "B12"];
    let names = ["DAPI", "GFP", "mCherry"];
    vec![
        Scheme::new(
            "6",
            "Pos{p}/img_channel{c}_position{p}_time{t}_z{z}.tif",
            vec![("p", from(0, 3, 1)), ("c", from(0, 2, 3)), ("t", from(0, 15, 9)), ("z", from(0, 5, 3))],
            |i| format!("raw/Pos{}/img_channel{:03}_position{:03}_time{:09}_z{:03}.tif", i[0], i[1], i[0], i[2], i[3]),
        ),
        Scheme::new(
            "7",
            "1-Pos_{x:3}_{y:3}/img_{t:9}_{c:word}_{z:3}.tif",
            vec![
                ("x", from(0, 2, 3)),
                ("y", from(0, 2, 3)),
                ("t", from(0, 12, 9)),
                ("c", words(&["Cy5", "DAPI", "GFP"])),
                ("z", from(0, 4, 3)),
            ],
            |i| {
                format!(
                    "1-Pos_{:03}_{:03}/img_{:09}_{}_{:03}.tif",
                    i[0],
                    i[1],
                    i[2],
                    ["Cy5", "DAPI", "GFP"][i[3]],
                    i[4]
                )
            },
        ),
        Scheme::new(
            "8",
            "_MMStack_Pos{p}<_{z}>.ome.tif",
            vec![("p", from(0, 60, 1)), ("z", words(&["none", "1", "2", "3", "4"]))],
            |i| match i[1] {
                0 => format!("x_MMStack_Pos{}.ome.tif", i[0]),
                part => format!("x_MMStack_Pos{}_{part}.ome.tif", i[0]),
            },
        ),
        Scheme::new(
            "9",
            "r{row:2}c{col:2}f{f:2}p{z:2}-ch{c}sk{t}fk{state}fl{flim}.tiff",
            vec![
                ("row", from(1, 2, 2)),
                ("col", from(1, 3, 2)),
                ("f", from(1, 4, 2)),
                ("z", from(1, 5, 2)),
                ("c", from(1, 4, 1)),
                ("t", from(1, 2, 1)),
                ("state", from(1, 1, 1)),
                ("flim", from(1, 1, 1)),
            ],
            |i| {
                format!(
                    "r{:02}c{:02}f{:02}p{:02}-ch{}sk{}fk1fl1.tiff",
                    i[0] + 1,
                    i[1] + 1,
                    i[2] + 1,
                    i[3] + 1,
                    i[4] + 1,
                    i[5] + 1
                )
            },
        ),
        Scheme::new(
            "10",
            "r{row:2}c{col:2}f{f:2}p{z:2}-ch{c:2}t{t:2}.tiff",
            vec![
                ("row", from(1, 2, 2)),
                ("col", from(1, 3, 2)),
                ("f", from(1, 4, 2)),
                ("z", from(1, 5, 2)),
                ("c", from(1, 2, 2)),
                ("t", from(1, 2, 2)),
            ],
            |i| {
                format!(
                    "r{:02}c{:02}f{:02}p{:02}-ch{:02}t{:02}.tiff",
                    i[0] + 1,
                    i[1] + 1,
                    i[2] + 1,
                    i[3] + 1,
                    i[4] + 1,
                    i[5] + 1
                )
            },
        ),
        Scheme::new(
            "11",
            "TimePoint_{t}/ZStep_{z}/*_{well:well}_s{s}_w{c:1}{_:guid}.tif",
            vec![
                ("t", from(1, 4, 1)),
                ("z", from(1, 5, 1)),
                ("well", words(&["C07", "D07"])),
                ("s", from(1, 2, 1)),
                ("c", from(1, 4, 1)),
            ],
            |i| {
                format!(
                    "TimePoint_{}/ZStep_{}/1well-3C-2S-Zmix-T_{}_s{}_w{}{}.tif",
                    i[0] + 1,
                    i[1] + 1,
                    ["C07", "D07"][i[2]],
                    i[3] + 1,
                    i[4] + 1,
                    guid(i)
                )
            },
        )
        .strangers(&[
            "TimePoint_1/ZStep_1/1well-3C-2S-Zmix-T_C07_s1_w1_thumb1D5F8F51A-3E85-4D8C-9A4B-0F2A5D3C7E8F.tif",
            "TimePoint_1/1well-3C-2S-Zmix-T_C07_s1_w21D5F8F5A-3E85-4D8C-9A4B-0F2A5D3C7E8F.tif",
        ]),
        Scheme::new(
            "12",
            "_w{c.number:1}{c.name:text}_s{s}_t{t}.",
            vec![("c", words(&["DAPI", "Cy3-2", "BF Trans"])), ("s", from(1, 10, 1)), ("t", from(1, 12, 1))],
            |i| format!("name_w{}{}_s{}_t{}.TIF", i[0] + 1, ["DAPI", "Cy3-2", "BF Trans"][i[0]], i[1] + 1, i[2] + 1),
        ),
        Scheme::new(
            "13",
            "_{well:well}_w{c:1}{_:guid}.tif",
            vec![
                ("well", (0..48).map(|k| format!("{}{:02}", ["A", "H"][k / 24], k % 24 + 1)).collect()),
                ("c", from(1, 5, 1)),
            ],
            |i| {
                let well = format!("{}{:02}", ["A", "H"][i[0] / 24], i[0] % 24 + 1);
                format!("ADSAStaphInfection2_{well}_w{}{}.tif", i[1] + 1, guid(i))
            },
        ),
        Scheme::new(
            "14",
            "_{well:well}_T{t:4}F{f:3}L{l:2}A{_a:2}Z{z:2}C{c:2}.tif",
            vec![
                ("well", words(&wells)),
                ("t", from(1, 5, 4)),
                ("f", from(1, 3, 3)),
                ("l", from(1, 1, 2)),
                ("z", from(1, 4, 2)),
                ("c", from(1, 2, 2)),
            ],
            |i| {
                format!(
                    "plate_{}_T{:04}F{:03}L01A{:02}Z{:02}C{:02}.tif",
                    wells[i[0]],
                    i[1] + 1,
                    i[2] + 1,
                    i[5] + 1,
                    i[4] + 1,
                    i[5] + 1
                )
            },
        )
        .strangers(&["DC_DCAM#1_CAM3.tif", "DC_DCAM#2_CAM4.tif", "SC_BP445-45_20x v2_M01_CH01.tif"]),
        Scheme::new(
            "15",
            "W{well}F{f:3}T{t:4}Z{z:2}C{c}.tif",
            vec![
                ("well", from(1, 12, 1)),
                ("f", from(1, 3, 3)),
                ("t", from(1, 3, 4)),
                ("z", from(1, 2, 2)),
                ("c", from(1, 2, 1)),
            ],
            |i| format!("W{}F{:03}T{:04}Z{:02}C{}.tif", i[0] + 1, i[1] + 1, i[2] + 1, i[3] + 1, i[4] + 1),
        ),
        Scheme::new(
            "16",
            "--W{well}--P{p}--Z{z}--T{t}--{c:word}.tif",
            vec![
                ("well", from(1, 6, 5)),
                ("p", from(1, 4, 5)),
                ("z", from(0, 3, 5)),
                ("t", from(0, 4, 5)),
                ("c", words(&["cherry", "gfp"])),
            ],
            |i| {
                format!(
                    "--W{:05}--P{:05}--Z{:05}--T{:05}--{}.tif",
                    i[0] + 1,
                    i[1] + 1,
                    i[2],
                    i[3],
                    ["cherry", "gfp"][i[4]]
                )
            },
        ),
        Scheme::new(
            "17",
            "{well:well}--W{_w}--P{p}--Z{z}--T{t}--{c:text}.tif",
            vec![
                ("well", words(&["B2", "B3", "B10"])),
                ("p", from(1, 4, 5)),
                ("z", from(0, 5, 5)),
                ("t", from(0, 4, 5)),
                ("c", words(&["405 nm #1", "488 nm #2"])),
            ],
            |i| {
                format!(
                    "{}--W{:05}--P{:05}--Z{:05}--T{:05}--{}.tif",
                    ["B2", "B3", "B10"][i[0]],
                    i[0] + 14,
                    i[1] + 1,
                    i[2],
                    i[3],
                    ["405 nm #1", "488 nm #2"][i[4]]
                )
            },
        ),
        Scheme::new(
            "18",
            "{row:[A-P]} - {col:2}(fld {f:2} wv {c:text}).tif",
            vec![
                ("row", words(&["B", "C"])),
                ("col", from(2, 10, 2)),
                ("f", from(1, 4, 2)),
                ("c", words(&["Cy3 - Cy3", "DAPI - DAPI", "FITC - FITC"])),
            ],
            |i| {
                let wave = ["Cy3 - Cy3", "DAPI - DAPI", "FITC - FITC"][i[3]];
                format!("{} - {:02}(fld {:02} wv {wave}).tif", ["B", "C"][i[0]], i[1] + 2, i[2] + 1)
            },
        ),
        Scheme::new(
            "19",
            "AS_{_plate}_{_run}_{row:[A-P]}{col:2}f{f:2}d{c}.tif",
            vec![("row", words(&["C", "D", "O"])), ("col", from(1, 12, 2)), ("f", from(0, 4, 2)), ("c", from(0, 3, 1))],
            |i| format!("AS_09125_050116030001_{}{:02}f{:02}d{}.tif", ["C", "D", "O"][i[0]], i[1] + 1, i[2], i[3]),
        ),
        Scheme::new(
            "20a",
            "{well:well}_{f}Z{z}_{c:word}_{_}_{t:3}_.tif",
            vec![
                ("well", words(&["A1", "A2", "A10"])),
                ("f", from(1, 4, 1)),
                ("z", from(1, 5, 1)),
                ("c", words(&["DAPI", "GFP"])),
                ("t", from(1, 4, 3)),
            ],
            |i| {
                format!(
                    "{}_{}Z{}_{}_1_{:03}_.tif",
                    ["A1", "A2", "A10"][i[0]],
                    i[1] + 1,
                    i[2] + 1,
                    ["DAPI", "GFP"][i[3]],
                    i[4] + 1
                )
            },
        ),
        Scheme::new(
            "20b",
            "{well:well}_{_}_{_}_{f}_{c:word}_{t:3}.tif",
            vec![
                ("well", words(&["A1", "P24"])),
                ("f", from(1, 9, 1)),
                ("c", words(&["DAPI", "GFP"])),
                ("t", from(1, 3, 3)),
            ],
            |i| format!("{}_01_1_{}_{}_{:03}.tif", ["A1", "P24"][i[0]], i[1] + 1, ["DAPI", "GFP"][i[2]], i[3] + 1),
        ),
        Scheme::new(
            "20c",
            "{well:well}_{_:int}_{_}_{f}_{c:text}_{t:3}.tif",
            vec![
                ("well", words(&["A1", "A2"])),
                ("f", from(1, 4, 1)),
                ("c", words(&["Tsf[Stitched[Channel1 300,400]]", "Tsf[Stitched[Channel2 500,600]]"])),
                ("t", from(1, 6, 3)),
            ],
            |i| {
                let channel = ["Tsf[Stitched[Channel1 300,400]]", "Tsf[Stitched[Channel2 500,600]]"][i[2]];
                format!("{}_-2_1_{}_{channel}_{:03}.tif", ["A1", "A2"][i[0]], i[1] + 1, i[3] + 1)
            },
        ),
        Scheme::new(
            "21",
            "Plate{plate}_Well{well:well}_Channel{_c:text}_Seq{_}.nd2",
            vec![("plate", from(0, 5, 3)), ("well", (1..=60).map(|c| format!("B{c:02}")).collect())],
            |i| format!("Plate{:03}_WellB{:02}_ChannelDAPI,CY5,CY3_Seq{:04}.nd2", i[0], i[1] + 1, i[1]),
        ),
        Scheme::new(
            "40",
            "VID{vessel}_{well:well}_{image}_{t:duration}.tif",
            vec![
                ("vessel", words(&["1607"])),
                ("well", words(&["A1", "B1", "C1"])),
                ("image", from(1, 4, 1)),
                ("t", (0..24).map(|k| format!("{:02}d{:02}h00m", k * 3 / 24, k * 3 % 24)).collect()),
            ],
            |i| {
                format!(
                    "VID1607_{}_{}_{:02}d{:02}h00m.tif",
                    ["A1", "B1", "C1"][i[1]],
                    i[2] + 1,
                    i[3] * 3 / 24,
                    i[3] * 3 % 24
                )
            },
        )
        .measured("t", "second", scaled(10_800.0, 24)),
        Scheme::new(
            "43",
            "{plate:2}_POS{p:3}_{c:[A-Z]}.TIF",
            vec![("plate", from(1, 2, 2)), ("p", from(2, 75, 3)), ("c", words(&["D", "F"]))],
            |i| format!("{:02}_POS{:03}_{}.TIF", i[0] + 1, i[1] + 2, ["D", "F"][i[2]]),
        ),
        Scheme::new("45a", "Channel{c}-T{t}.tif", vec![("c", from(1, 3, 1)), ("t", from(1, 100, 4))], |i| {
            format!("Channel{}-T{:04}.tif", i[0] + 1, i[1] + 1)
        }),
        Scheme::new(
            "45b",
            "{c:Red|Green|Blue}-T{t}.tif",
            vec![("c", words(&["Red", "Green", "Blue"])), ("t", from(1, 100, 4))],
            |i| format!("{}-T{:04}.tif", ["Red", "Green", "Blue"][i[0]], i[1] + 1),
        ),
        Scheme::new("45c", "Channel{c}/T{t}.tif", vec![("c", from(1, 3, 1)), ("t", from(1, 100, 4))], |i| {
            format!("data/Channel{}/T{:04}.tif", i[0] + 1, i[1] + 1)
        }),
        Scheme::new(
            "12b",
            "_w{c.number:1}{c.name:letters}_t{t}.",
            vec![("c", words(&names)), ("t", from(1, 100, 1))],
            |i| format!("name_w{}{}_t{}.stk", i[0] + 1, names[i[0]], i[1] + 1),
        ),
    ]
}

/// Column and row of tile `k` of a mosaic `width` wide, every second row backwards.
fn snake(k: usize, width: usize) -> (usize, usize) {
    let (row, column) = (k / width, k % width);
    (if row % 2 == 0 { column } else { width - 1 - column }, row)
}

/// The number of the tile at a column and row of such a mosaic.
fn snake_number(x: usize, y: usize, width: usize) -> usize {
    (0..).find(|k| snake(*k, width) == (x, y)).unwrap_or(0)
}

fn tiles() -> Vec<Scheme> {
    vec![
        Scheme::new(
            "22",
            "cyc{cyc}_reg{reg}/{_:1}_{tile:5}_Z{z:3}_CH{c:1}.tif",
            vec![
                ("cyc", from(1, 2, 3)),
                ("reg", from(1, 2, 3)),
                ("y", from(0, 3, 1)),
                ("x", from(0, 4, 1)),
                ("z", from(1, 3, 3)),
                ("c", from(1, 4, 1)),
            ],
            |i| {
                let tile = snake_number(i[3], i[2], 4) + 1;
                format!("cyc{:03}_reg{:03}/1_{tile:05}_Z{:03}_CH{}.tif", i[0] + 1, i[1] + 1, i[4] + 1, i[5] + 1)
            },
        )
        .layout("tile=x:4,y:3,snake"),
        Scheme::new(
            "23",
            "_XY{p}_{tile:5}_Z{z:3}_CH{c}.tif",
            vec![
                ("p", from(1, 2, 2)),
                ("y", from(0, 4, 1)),
                ("x", from(0, 5, 1)),
                ("z", from(1, 4, 3)),
                ("c", words(&["1", "2", "4"])),
            ],
            |i| {
                let tile = snake_number(i[2], i[1], 5) + 551;
                format!("Image_XY{:02}_{tile:05}_Z{:03}_CH{}.tif", i[0] + 1, i[3] + 1, [1, 2, 4][i[4]])
            },
        )
        .layout("tile=x:5,y:4,snake"),
        Scheme::new(
            "24",
            "_Blaze[{x:2} x {y:2}]_C{c:2}_xyz-Table Z{z:4}.ome",
            vec![("x", from(0, 3, 2)), ("y", from(0, 2, 2)), ("c", from(0, 2, 2)), ("z", from(0, 30, 4))],
            |i| format!("11-14-17_name_Blaze[{:02} x {:02}]_C{:02}_xyz-Table Z{:04}.ome.tif", i[0], i[1], i[2], i[3]),
        ),
        Scheme::new(
            "28",
            "/{y@0.1um}/{y@0.1um}_{x@0.1um}/{y@0.1um}_{x@0.1um}_{z@0.1um}.tif",
            vec![("y", by(0, 3650, 4, 6)), ("x", by(0, 3650, 3, 6)), ("z", by(0, 20, 30, 6))],
            |i| {
                let (y, x, z) = (i[0] * 3650, i[1] * 3650, i[2] * 20);
                format!("RES(1460x1095x30)/{y:06}/{y:06}_{x:06}/{y:06}_{x:06}_{z:06}.tif")
            },
        )
        .measured("y", "micrometer", scaled(365.0, 4))
        .measured("x", "micrometer", scaled(365.0, 3))
        .measured("z", "micrometer", scaled(2.0, 30)),
        Scheme::new(
            "30a",
            "Tile_Z{z:3}_Y{y:3}_X{x:3}.lsm",
            vec![("z", from(0, 10, 3)), ("y", from(1, 5, 3)), ("x", from(1, 6, 3))],
            |i| format!("Tile_Z{:03}_Y{:03}_X{:03}.lsm", i[0], i[1] + 1, i[2] + 1),
        ),
        Scheme::new("30b", "TiledConfocal_{i:2}.lsm", vec![("y", from(0, 9, 1)), ("x", from(0, 11, 1))], |i| {
            format!("TiledConfocal_{:02}.lsm", i[0] * 11 + i[1])
        })
        .layout("i=x:11,y:9"),
        Scheme::new("31a", "img_r{y:3}_c{x:3}.tif", vec![("y", from(5, 15, 3)), ("x", from(5, 20, 3))], |i| {
            format!("img_r{:03}_c{:03}.tif", i[0] + 5, i[1] + 5)
        }),
        Scheme::new("31b", "img_{p:4}.tif", vec![("x", from(0, 20, 1)), ("y", from(0, 15, 1))], |i| {
            format!("img_{:04}.tif", i[0] * 15 + i[1] + 5)
        })
        .layout("p=y:15,x:20"),
        Scheme::new("31c", "Img_pos{p:3}_time{t:3}.tif", vec![("p", from(1, 20, 3)), ("t", from(1, 15, 3))], |i| {
            format!("Img_pos{:03}_time{:03}.tif", i[0] + 1, i[1] + 1)
        }),
        Scheme::new(
            "32a",
            "img_{c:word}_r{y:03}_c{x:03}.tif",
            vec![("c", words(&["Cy5", "DAPI", "FITC"])), ("y", from(0, 10, 3)), ("x", from(0, 12, 3))],
            |i| format!("img_{}_r{:03}_c{:03}.tif", ["Cy5", "DAPI", "FITC"][i[0]], i[1], i[2]),
        ),
        Scheme::new(
            "32b",
            "Cycle_{cycle:3}_Channel_{c:1}_Frame_{series}.tif",
            vec![("cycle", from(0, 6, 3)), ("c", from(1, 4, 1)), ("series", from(0, 12, 1))],
            |i| format!("Cycle_{:03}_Channel_{}_Frame_{}.tif", i[0], i[1] + 1, i[2]),
        ),
        Scheme::new(
            "41",
            "Tile_{x:3}-{y:3}-{z:6}_{det}-{_:3}.s{_:4}_e{energy:2}.tif",
            vec![
                ("x", from(1, 3, 3)),
                ("y", from(1, 3, 3)),
                ("z", from(18, 20, 6)),
                ("det", from(0, 1, 1)),
                ("energy", from(1, 2, 2)),
            ],
            |i| {
                format!(
                    "Tile_{:03}-{:03}-{:06}_0-000.s{:04}_e{:02}.tif",
                    i[0] + 1,
                    i[1] + 1,
                    i[2] + 18,
                    i[2] + 19,
                    i[4] + 1
                )
            },
        ),
    ]
}

fn series() -> Vec<Scheme> {
    vec![
        Scheme::new(
            "25",
            "_Cycle{cycle}_Ch{c}_{t}.ome",
            vec![("cycle", from(1, 3, 5)), ("c", from(1, 2, 1)), ("t", from(1, 60, 6))],
            |i| format!("TSeries-01012020-0001_Cycle{:05}_Ch{}_{:06}.ome.tif", i[0] + 1, i[1] + 1, i[2] + 1),
        ),
        Scheme::new("33a", "test_Z{z}_C{c}.png", vec![("z", from(0, 150, 1)), ("c", words(&["0", "2"]))], |i| {
            format!("test_Z{}_C{}.png", i[0], i[1] * 2)
        }),
        Scheme::new("33b", "/{c:red|green|blue}.tiff", vec![("c", words(&["red", "green", "blue"]))], |i| {
            format!("{}.tiff", ["red", "green", "blue"][i[0]])
        }),
        Scheme::new(
            "33c",
            "img_{c:[C-E]}_{t}.ext",
            vec![("c", words(&["C", "D", "E"])), ("t", from(0, 100, 1))],
            |i| format!("img_{}_{}.ext", ["C", "D", "E"][i[0]], i[1]),
        ),
        Scheme::new(
            "34",
            "_T{t}_Z{z}_C{c}.tif",
            vec![("t", from(1, 20, 3)), ("z", from(1, 10, 3)), ("c", from(2, 2, 2))],
            |i| format!("export_T{:03}_Z{:03}_C{:02}.tif", i[0] + 1, i[1] + 1, i[2] + 2),
        ),
        Scheme::new(
            "35",
            "_C{c}Z{z}T{t}.tif",
            vec![("c", from(1, 3, 3)), ("z", from(1, 10, 3)), ("t", from(1, 12, 3))],
            |i| format!("s_C{:03}Z{:03}T{:03}.tif", i[0] + 1, i[1] + 1, i[2] + 1),
        ),
        Scheme::new(
            "36",
            "_t{t}_z{z}_ch{c}.tif",
            vec![("t", from(0, 12, 2)), ("z", from(0, 15, 2)), ("c", from(0, 2, 2))],
            |i| format!("Embryo01_t{:02}_z{:02}_ch{:02}.tif", i[0], i[1], i[2]),
        ),
        Scheme::new(
            "37",
            "_t{t}xy{p}c{c}.tif",
            vec![("t", from(1, 40, 3)), ("p", from(1, 4, 2)), ("c", from(1, 2, 1))],
            |i| format!("260430_t{:03}xy{:02}c{}.tif", i[0] + 1, i[1] + 1, i[2] + 1),
        ),
        Scheme::new("38a", "_t{t}c{c}_ORG.tif", vec![("t", from(1, 120, 1)), ("c", from(1, 2, 1))], |i| {
            format!("20181113_HCC_d0-2_t{}c{}_ORG.tif", i[0] + 1, i[1] + 1)
        }),
        Scheme::new("38b", "_Scene-{s}_c{c}_ORG.tif", vec![("s", from(1, 80, 3)), ("c", from(1, 4, 1))], |i| {
            format!("2018 export_Scene-{:03}_c{}_ORG.tif", i[0] + 1, i[1] + 1)
        }),
        Scheme::new("38c", "Export-{s}_c{c}_ORG.tif", vec![("s", from(1, 80, 2)), ("c", from(1, 4, 1))], |i| {
            format!("Snap-2066-Image Export-{:02}_c{}_ORG.tif", i[0] + 1, i[1] + 1)
        }),
        Scheme::new(
            "39",
            "_t{t}_z{z}_c{c}.tif",
            vec![("t", from(1, 12, 4)), ("z", from(1, 15, 4)), ("c", from(1, 2, 4))],
            |i| format!("name_t{:04}_z{:04}_c{:04}.tif", i[0] + 1, i[1] + 1, i[2] + 1),
        ),
        Scheme::new("42", "_ch{c:2}{z:4}.tif", vec![("c", from(0, 3, 2)), ("z", from(0, 150, 4))], |i| {
            format!("background_ch{:02}{:04}.tif", i[0], i[1])
        }),
        Scheme::new(
            "44",
            "T{t}S{s}F{f}.png",
            vec![("t", from(70, 10, 2)), ("s", from(1, 3, 1)), ("f", from(1, 10, 5))],
            |i| format!("T{}S{}F{:05}.png", i[0] + 70, i[1] + 1, i[2] + 1),
        ),
        Scheme::new("46", "_C{c}T{t}.tif", vec![("c", from(1, 2, 3)), ("t", from(1, 150, 3))], |i| {
            format!("temp_C{:03}T{:03}.tif", i[0] + 1, i[1] + 1)
        }),
        Scheme::new("47", "/{z}.tif", vec![("z", from(0, 400, 5))], |i| format!("{:05}.tif", i[0])),
        Scheme::new("48", "_C{c}_TP{t}.tiff", vec![("c", from(1, 3, 1)), ("t", from(1, 120, 1))], |i| {
            format!("032610 h2b low mag_C{}_TP{}.tiff", i[0] + 1, i[1] + 1)
        })
        .strangers(&["032610 h2b low mag.txt"]),
    ]
}
