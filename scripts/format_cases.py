"""The cases of check_formats.py: which clips are made, and what is to be expected of them."""
import dataclasses
import pathlib
import shlex
import typing

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = ROOT / "tests/data"
FRAMES = 25  # a second

# Video: what ffmpeg is told, and the size that the codec takes.
SMALL = (176, 144)
VIDEO = {
    "H.264": ("libx264 -preset veryfast -crf 10 -g 12", SMALL),
    "H.265": ("libx265 -preset ultrafast -x265-params log-level=none:crf=8:keyint=12", SMALL),
    "AV1": ("libsvtav1 -preset 12 -crf 20 -g 12", SMALL),
    "VP8": ("libvpx -b:v 3M -crf 4 -deadline realtime -cpu-used 8 -auto-alt-ref 0", SMALL),
    "VP9": ("libvpx-vp9 -b:v 0 -crf 12 -deadline realtime -cpu-used 8", SMALL),
    "MPEG-4": ("mpeg4 -q:v 2", SMALL),
    "MPEG-4 with B-frames": ("mpeg4 -q:v 2 -bf 2", SMALL),
    "MPEG-2": ("mpeg2video -q:v 2 -bf 2", SMALL),
    "MPEG-1": ("mpeg1video -q:v 2", SMALL),
    "MJPEG": ("mjpeg -q:v 2 -pix_fmt yuvj420p", SMALL),
    "ProRes": ("prores_ks -profile:v 2", SMALL),
    "ProRes 4444": ("prores_ks -profile:v 4 -pix_fmt yuv444p10le", SMALL),
    "DNxHD": ("dnxhd -b:v 90M -pix_fmt yuv422p", (1280, 720)),
    "DNxHR LB": ("dnxhd -profile:v dnxhr_lb -pix_fmt yuv422p", (256, 144)),
    "DNxHR SQ": ("dnxhd -profile:v dnxhr_sq -pix_fmt yuv422p", (256, 144)),
    "DNxHR HQX": ("dnxhd -profile:v dnxhr_hqx -pix_fmt yuv422p10le", (256, 144)),
    "DNxHR 444": ("dnxhd -profile:v dnxhr_444 -pix_fmt yuv444p10le", (256, 144)),
    "PNG": ("png -pix_fmt rgb24", SMALL),
    "QuickTime Animation": ("qtrle -pix_fmt rgb24", SMALL),
    "Cinepak": ("cinepak -q:v 1", SMALL),
    "FFV1": ("ffv1", SMALL),
    "HuffYUV": ("huffyuv -pix_fmt yuv422p", SMALL),
    "FFVHuff": ("ffvhuff", SMALL),
    "UT Video": ("utvideo -pix_fmt yuv420p", SMALL),
    "UT Video RGB": ("utvideo -pix_fmt gbrp", SMALL),
    "MagicYUV": ("magicyuv -pix_fmt yuv420p", SMALL),
    "raw YUV": ("rawvideo -pix_fmt yuv420p", SMALL),
    "raw UYVY": ("rawvideo -pix_fmt uyvy422", SMALL),
    "raw RGB": ("rawvideo -pix_fmt bgr24", SMALL),
    "raw RGB, top down": ("rawvideo -pix_fmt rgb24 -vtag RGB2", SMALL),
    "v210": ("v210 -pix_fmt yuv422p10le", SMALL),
    "Theora": ("libtheora -q:v 9", SMALL),
    "WMV1": ("wmv1 -q:v 2", SMALL),
    "WMV2": ("wmv2 -q:v 2", SMALL),
    "MS MPEG-4 v2": ("msmpeg4v2 -q:v 2", SMALL),
    "MS MPEG-4 v3": ("msmpeg4 -q:v 2", SMALL),
    "H.263": ("h263 -q:v 2", SMALL),
    "Sorenson H.263": ("flv1 -q:v 2", SMALL),
    "DV PAL": ("dvvideo -pix_fmt yuv420p -aspect 4:3", (720, 576)),
    "DV NTSC": ("dvvideo -pix_fmt yuv411p -aspect 4:3", (720, 480)),
    "Sorenson 1": ("svq1 -q:v 1", SMALL),
    "JPEG 2000": ("jpeg2000 -q:v 1 -pix_fmt yuv420p", SMALL),
    "ZMBV": ("zmbv -pix_fmt bgr0", SMALL),
    "MS Video 1": ("msvideo1", SMALL),
    "Flash Screen": ("flashsv", SMALL),
}

# Sound: what ffmpeg is told.
SOUND = {
    "AAC": "aac -b:a 192k",
    "HE-AAC in LATM": "aac -b:a 192k -mpegts_flags +latm",
    "MP3": "libmp3lame -b:a 192k",
    "MP2": "mp2 -b:a 256k",
    "AC-3": "ac3 -b:a 256k",
    "E-AC-3": "eac3 -b:a 256k",
    "DTS": "dca -strict -2 -b:a 768k",
    "FLAC": "flac -strict -2",
    "ALAC": "alac",
    "Opus": "libopus -b:a 192k",
    "Vorbis": "libvorbis -q:a 8",
    "Speex": "libspeex -b:a 40k -ac 1 -ar 16000",
    "WMA 1": "wmav1 -b:a 192k",
    "WMA 2": "wmav2 -b:a 192k",
    "Nellymoser": "nellymoser -ac 1 -ar 22050",
    "G.711 A-law": "pcm_alaw",
    "G.711 µ-law": "pcm_mulaw",
    "PCM 8": "pcm_u8",
    "PCM s8": "pcm_s8",
    "PCM 16": "pcm_s16le",
    "PCM 16 BE": "pcm_s16be",
    "PCM 24": "pcm_s24le",
    "PCM 24 BE": "pcm_s24be",
    "PCM 32": "pcm_s32le",
    "PCM 32 BE": "pcm_s32be",
    "PCM float": "pcm_f32le",
    "PCM float BE": "pcm_f32be",
    "PCM float 64": "pcm_f64le",
    "PCM float 64 BE": "pcm_f64be",
    "PCM of Blu-ray": "pcm_bluray",
    "PCM of DVD": "pcm_dvd",
    "PCM of DVD, 24 bits": "pcm_dvd -sample_fmt s32",
    "ADPCM MS": "adpcm_ms",
    "ADPCM IMA": "adpcm_ima_wav",
    "ADPCM QuickTime": "adpcm_ima_qt",
    "ADPCM Flash": "adpcm_swf -ar 44100",
    "WavPack": "wavpack",
    "TTA": "tta",
    "TrueHD": "truehd -strict -2",
}


@dataclasses.dataclass
class Case:
    group: str
    container: str
    codec: str
    sound: typing.Optional[str]
    about: str
    to: str
    make: typing.Callable
    args: list = dataclasses.field(default_factory=list)
    known: str = ""
    subset: bool = False
    # What ffmpeg does with the clip before it is compared.
    reference: list = dataclasses.field(default_factory=list)
    # Which part of the clip is expected, in seconds from where it begins.
    span: typing.Optional[tuple] = None
    times: typing.Any = True
    time_tolerance: float = 0.00101
    levels: float = 2.0
    part_levels: float = 6.0
    size_after: typing.Optional[tuple] = None
    picture: int = 0
    sounds: typing.Optional[int] = None
    rate_after: typing.Optional[str] = None
    subtitles: typing.Optional[int] = None
    attachments: typing.Optional[int] = None
    chapters: typing.Optional[int] = None
    check_tags: bool = True
    check_flags: bool = False
    colours_lost: bool = False
    tags: dict = dataclasses.field(default_factory=dict)
    says: list = dataclasses.field(default_factory=list)
    silent: bool = False
    # What FFmpeg reads instead of the clip, where it cannot read that itself.
    as_reference: typing.Callable = lambda source: source

    @property
    def name(self):
        parts = [self.container, self.codec, self.sound, self.about, f"→ {self.to}"]
        return " · ".join(part for part in parts if part)


WMA = "FFmpeg's decoder gives nothing of the first two packets of WMA; what follows lies at the same times in both."


def words(text):
    return shlex.split(text) if isinstance(text, str) else list(text)


# The clips all others are made of


def prepare(folder, run, ffmpeg):
    """25 frames of real footage whose brightness tells them apart, 50 half-pictures, and tones of one
    second: each channel with a pitch and a level of its own, louder in the first half."""
    footage = DATA / "carphone_pristine.mp4"
    shade = "geq=lum='clip(lum(X,Y)*0.8+20+20*mod(N\\,3)\\,16\\,235)':cb='cb(X,Y)':cr='cr(X,Y)',setsar=1"
    run([*ffmpeg, "-r", FRAMES, "-i", footage, "-frames:v", FRAMES, "-vf", shade, "-c:v", "ffv1",
         "-fflags", "+bitexact", folder / "base.mkv"])
    run([*ffmpeg, "-r", 2 * FRAMES, "-i", footage, "-frames:v", 2 * FRAMES, "-vf", "setsar=1",
         "-c:v", "ffv1", folder / "fields.mkv"])
    for channels in (1, 2, 3, 4, 6, 8):
        layout = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 6: "5.1", 8: "7.1"}[channels]
        # Encoders leave nothing of the channel of low frequencies but these.
        low = {3: 2, 6: 3, 8: 3}.get(channels)
        tones = "|".join(f"{0.4 / (1 + n) ** 0.5:.3f}*(1-0.6*gte(t,0.5))"
                         f"*sin(2*PI*{60 if n == low else 300 + 110 * n}*t)" for n in range(channels))
        run([*ffmpeg, "-f", "lavfi", "-i", f"aevalsrc=exprs='{tones}':s=48000:d=1:c={layout}",
             "-c:a", "pcm_f32le", folder / f"tone{channels}.wav"])


class Maker:
    """Builds clips with ffmpeg."""

    def __init__(self, run, ffmpeg):
        self.run, self.ffmpeg = run, ffmpeg

    def clip(self, ending, codec, sound=None, *, size=None, filters=(), channels=2, rate=None, video=(),
             muxing=(), name="in", base="base.mkv", before=(), tone_delay=0.0, input_rate=None, sounds=1):
        """A function that makes a clip and returns its path."""
        settings, usual = VIDEO[codec]
        wanted = size or usual

        def make(here, folder):
            path = here / f"{name}.{ending}"
            command = [*self.ffmpeg, *before]
            if input_rate:
                command += ["-r", input_rate]
            command += ["-i", folder / base]
            if sound:
                if tone_delay:
                    command += ["-itsoffset", tone_delay]
                command += ["-i", folder / f"tone{channels}.wav"]
            chain = list(filters)
            if wanted != SMALL and "scale" not in "".join(chain):
                # Scaling keeps the shape of the whole: pixels would be a little wider or narrower.
                chain.insert(0, f"scale={wanted[0]}:{wanted[1]}:flags=bilinear,setsar=1")
            if chain:
                command += ["-vf", ",".join(chain)]
            command += ["-map", "0:v"]
            command += ["-map", "1:a"] * sounds if sound else []
            command += ["-c:v", *words(settings), *words(video)]
            if sound:
                command += ["-c:a", *words(SOUND[sound])]
                if rate:
                    command += ["-ar", rate]
            self.run([*command, *words(muxing), path])
            return path
        return make

    def then(self, make, *steps):
        """A clip, and then ffmpeg on it: `steps` are (ending, arguments)."""
        def made(here, folder):
            path = make(here, folder)
            for number, (ending, arguments) in enumerate(steps):
                after = here / f"step{number}.{ending}"
                self.run([*self.ffmpeg, "-i", path, *words(arguments), after])
                path = after
            return path
        return made

    def bytes_of(self, make, change, name=None):
        """A clip, with its bytes changed."""
        def made(here, folder):
            path = make(here, folder)
            after = here / (name or "changed" + path.suffix)
            after.write_bytes(change(path.read_bytes()))
            return after
        return made


def all_cases(run, ffmpeg):
    maker = Maker(run, ffmpeg)
    cases, names = [], set()

    def add(group, container, codec, sound, about, to, make=None, ending=None, clip=None, **more):
        ending = ending or container.lower()
        make = make or maker.clip(ending, codec, sound, **(clip or {}))
        # AVI only says when frames are decoded. FFmpeg tells that of frames that are shown in another order, and
        # of some nothing.
        if container == "AVI" and codec in ("H.264", "H.265", "MPEG-2", "MPEG-4 with B-frames"):
            more.setdefault("times", rate_of(FRAMES))
        case = Case(group, container, codec, sound, about, to, make, **more)
        # What one group has, another need not have again.
        if case.name not in names:
            names.add(case.name)
            cases.append(case)

    pictures(add, maker)
    sounds(add, maker)
    shapes(add, maker)
    structure(add, maker)
    return cases


def pictures(add, maker):
    """Every video codec in the containers in which it is met, with the sound it is met with."""
    group = "Pictures"
    unsaid_order = ("FFmpeg writes for H.264 in MXF in which order frames are decoded, not when they are shown "
                    "(no temporal offsets in its index): it and mxfdemux guess, each in its own way.")
    no_caps = ("The decoder of gst-libav 1.22 only takes `unknown/unknown`, which its base class refuses (\"Failed to "
               "parse caps\"), 1.26 has none; the program says how to convert the file.")
    for container, sound, to, codecs in (
        ("MP4", "AAC", "mp4", "H.264 H.265 AV1 VP9 MPEG-4 MPEG-2 MJPEG"),
        ("MOV", "AAC", "mov", "H.264 H.265 MPEG-4 MJPEG ProRes PNG Cinepak v210"),
        ("MOV", "PCM 16", "mp4", "DNxHD"),
        ("MKV", "AAC", "mkv", "H.264 H.265 AV1 VP8 VP9 MPEG-4 MPEG-2 MPEG-1 MJPEG FFV1 Theora ProRes HuffYUV FFVHuff"),
        ("WebM", "Opus", "webm", "VP8 VP9 AV1"),
        ("AVI", "MP3", "mp4", "MPEG-4 H.264 MJPEG HuffYUV FFVHuff FFV1 Cinepak ZMBV MPEG-2 VP9 AV1 ProRes"),
        ("FLV", "MP3", "mp4", "H.264"),
        ("TS", "AAC", "mp4", "H.264 H.265 MPEG-2"),
        ("MPG", "MP2", "mp4", "MPEG-1 MPEG-2"),
        ("WMV", "WMA 2", "mp4", "WMV1 WMV2"),
        ("MXF", "PCM 16", "mov", "MPEG-2 H.264 DNxHD"),
    ):
        for codec in names_in(codecs):
            channels = {"channels": 1} if container == "MXF" else {}
            known = WMA if sound == "WMA 2" else unsaid_order if (container, codec) == ("MXF", "H.264") else ""
            add(group, container, codec, sound, "", to, clip=channels, known=known,
                subset=(container, codec) in {("MP4", "H.264"), ("MKV", "VP9"), ("AVI", "FFVHuff"), ("AVI", "ZMBV")})
    add(group, "MOV", "ProRes 4444", None, "10 bits, 4:4:4", "mp4")
    for codec in ("DNxHR LB", "DNxHR SQ", "DNxHR HQX", "DNxHR 444"):
        add(group, "MOV", codec, None, "", "mp4", subset=codec == "DNxHR HQX")
        if codec != "DNxHR LB":
            add(group, "MXF", codec, None, "", "mkv")
    for codec in ("UT Video", "UT Video RGB", "MagicYUV", "MS MPEG-4 v2", "MS MPEG-4 v3", "MS Video 1",
                  "raw YUV", "raw UYVY", "raw RGB"):
        add(group, "AVI", codec, None, "", "mp4", levels=4.0 if codec == "MS Video 1" else 2.0,
            known=no_caps if codec.startswith(("UT", "Magic")) else "")
    add(group, "AVI", "raw RGB, top down", None, "", "mkv",
        make=maker.bytes_of(maker.clip("avi", "raw RGB"), top_down))
    add(group, "MKV", "UT Video", None, "", "mkv", known=no_caps)
    for codec in ("Sorenson 1", "JPEG 2000", "Flash Screen", "PNG"):
        add(group, "AVI", codec, None, "", "mp4")
    add(group, "MOV", "QuickTime Animation", None, "", "mp4")
    add(group, "MOV", "raw UYVY", None, "", "mp4")
    add(group, "MOV", "Sorenson 1", None, "", "mp4")
    add(group, "MOV", "JPEG 2000", None, "", "mp4", subset=True)
    add(group, "MOV", "H.263", None, "", "mp4", subset=True)
    add(group, "3GP", "H.263", None, "", "mp4")
    add(group, "3GP", "MPEG-4", "AAC", "", "mp4")
    add(group, "FLV", "Sorenson H.263", "MP3", "", "mp4", clip={"rate": 44100})
    add(group, "FLV", "Flash Screen", None, "", "mp4")
    add(group, "OGV", "Theora", "Vorbis", "", "mkv")
    add(group, "ASF", "MS MPEG-4 v3", "WMA 1", "", "mp4",
        known=WMA)
    add(group, "M2TS", "H.264", "AC-3", "", "mp4", clip={"muxing": "-f mpegts -mpegts_m2ts_mode 1"})
    add(group, "VOB", "MPEG-2", "AC-3", "", "mkv")
    for codec, ending in (("H.264", "h264"), ("H.265", "h265"), ("MPEG-2", "m2v"), ("VP9", "ivf"),
                          ("AV1", "ivf"), ("MPEG-4", "m4v")):
        add(group, f"raw stream ({ending})", codec, None, "", "mp4", ending=ending, times=rate_of(25))
    add(group, "Y4M", "raw YUV", None, "", "mp4", clip={"video": "-c:v wrapped_avframe"})


def sounds(add, maker):
    """Every sound codec in the containers in which it is met."""
    group = "Sound"
    for container, codec, to, sounds_of in (
        ("MP4", "H.264", "mp4", "AAC,MP3,AC-3,E-AC-3,Opus,FLAC,ALAC"),
        ("MOV", "H.264", "mp4", "AAC,ALAC,PCM 8,PCM 16,PCM 16 BE,PCM 24,PCM 24 BE,PCM 32,PCM 32 BE,PCM float,"
                                "PCM float BE,PCM float 64,PCM float 64 BE,G.711 A-law,G.711 µ-law,ADPCM QuickTime"),
        ("MOV", "H.264", "mov", "PCM 16,PCM 24,PCM float"),
        ("MOV", "H.264", "mkv", "PCM 16,PCM 24,PCM 32,PCM float"),
        ("MKV", "H.264", "mkv", "AAC,MP3,MP2,AC-3,E-AC-3,DTS,FLAC,Opus,Vorbis,PCM 16,PCM 24,PCM 32,PCM float,"
                                "PCM 16 BE,WavPack,TTA,TrueHD"),
        ("MKV", "H.264", "mp4", "MP3,AC-3,DTS,FLAC,Opus,Vorbis,PCM 16,PCM float"),
        ("AVI", "MPEG-4", "mp4", "MP3,MP2,AC-3,AAC,PCM 8,PCM 16,PCM 24,ADPCM MS,ADPCM IMA,G.711 µ-law"),
        ("AVI", "MPEG-4", "mkv", "PCM 16,ADPCM MS"),
        ("TS", "H.264", "mp4", "AAC,MP2,MP3,AC-3,E-AC-3,DTS,Opus,HE-AAC in LATM"),
        ("TS", "H.264", "mkv", "DTS,HE-AAC in LATM"),
        ("M2TS", "H.264", "mkv", "AAC,AC-3,DTS,PCM of Blu-ray"),
        ("MPG", "MPEG-2", "mkv", "MP2,AC-3"),
        ("VOB", "MPEG-2", "mp4", "DTS,PCM of DVD"),
        ("FLV", "H.264", "mp4", "AAC,Speex,Nellymoser,ADPCM Flash"),
        ("OGV", "Theora", "mkv", "Opus,FLAC,Speex"),
        ("WebM", "VP9", "mp4", "Vorbis"),
        ("WMV", "WMV2", "mkv", "WMA 1"),
        ("MXF", "MPEG-2", "mp4", "PCM 24"),
    ):
        for sound in sounds_of.split(","):
            clip = {}
            if container == "M2TS":
                clip["muxing"] = "-f mpegts -mpegts_m2ts_mode 1"
            if sound in ("PCM s8",):
                clip["channels"] = 1
            if sound == "Speex":
                clip["channels"] = 1
            add(group, container, codec, sound, "", to, clip=clip,
                subset=(container, sound, to) in {("MOV", "PCM float", "mp4"), ("M2TS", "DTS", "mkv"),
                                                  ("FLV", "AAC", "mp4"), ("M2TS", "AC-3", "mkv"),
                                                  ("MKV", "FLAC", "mp4"), ("MKV", "Vorbis", "mkv")})
    for channels, container, sound, to in (
        (1, "MP4", "AAC", "mp4"), (6, "MP4", "AAC", "mp4"), (6, "MKV", "AC-3", "mkv"), (8, "MKV", "FLAC", "mkv"),
        (4, "AVI", "PCM 16", "webm"), (6, "MOV", "PCM 24", "mp4"), (6, "MOV", "PCM 16", "mkv"), (8, "MOV", "PCM 24", "mov"),
        (6, "MKV", "Opus", "webm"), (1, "WebM", "Opus", "webm"), (4, "MKV", "FLAC", "webm"), (3, "MKV", "FLAC", "webm"),
        (6, "AVI", "PCM 16", "mp4"), (4, "MOV", "PCM 24", "mp4"), (6, "MXF", "PCM 16", "mp4"),
        (8, "MKV", "Opus", "mp4"), (8, "MP4", "Opus", "mkv"), (6, "M2TS", "PCM of Blu-ray", "mkv"), (8, "M2TS", "PCM of Blu-ray", "mkv"),
    ):
        codec = "VP9" if container == "WebM" else "MPEG-2" if container == "MXF" else "H.264"
        known = {(4, "AVI"): "Opus has no layout with one centre behind: it is shared by left and right, as the program says.",
                 (8, "MOV"): "GStreamer's encoder of AAC takes six channels at most, as the program says."}
        muxing = {"muxing": "-f mpegts -mpegts_m2ts_mode 1"} if container == "M2TS" else {}
        add(group, container, codec, sound, f"{channels} channels", to, clip={"channels": channels, **muxing},
            known=known.get((channels, container), ""))
    for channels in (1, 2):
        add(group, "VOB", "MPEG-2", "PCM of DVD, 24 bits", f"{channels} channels", "mkv", clip={"channels": channels})
    for rate in (8000, 22050, 32000, 44100, 96000):
        add(group, "MKV", "H.264", "AAC", f"{rate} Hz", "mp4", clip={"rate": rate})
        if rate != 96000:
            add(group, "MOV", "H.264", "PCM 16", f"{rate} Hz", "webm", clip={"rate": rate})
    for delay in (0.3, -0.3):
        what = "sound begins later" if delay > 0 else "sound begins earlier"
        for container, to in (("MP4", "mp4"), ("MKV", "mkv"), ("TS", "mp4"), ("FLV", "mp4")):
            add(group, container, "H.264", "AAC", what, to, clip={"tone_delay": delay})
    add(group, "MKV", "H.264", "AAC", "two tracks", "mp4", clip={"sounds": 2})
    add(group, "TS", "H.264", "MP2", "two tracks", "mkv", clip={"sounds": 2})


def shapes(add, maker):
    """Interlacing, range, colours, pixel aspect, sizes, rotation, depth, transparency."""
    group = "Shapes and colours"
    weave = ["tinterlace=interleave_top", "setfield=tff"]
    weave_bottom = ["tinterlace=interleave_bottom", "setfield=bff"]
    yadif = ["yadif=mode=send_frame:parity=auto:deint=interlaced"]
    ilme = "-flags +ilme+ildct"

    def interlaced(container, codec, size, order, to="mp4", **more):
        filters = [f"scale={size[0]}:{size[1]}:flags=bilinear"] + (weave if order == "top" else weave_bottom)
        flags = ilme if not codec.startswith("H.264") else "-x264-params " + ("tff=1" if order == "top" else "bff=1")
        flags = "" if codec.startswith("DV") else flags + ("" if codec.startswith("H.264") else " -bf 0")
        about = f"interlaced, {order} first, {size[0]}×{size[1]}"
        add(group, container, codec, None, about, to, says=["interlaced"], reference=yadif,
            clip={"base": "fields.mkv", "filters": filters, "video": flags, "size": size}, **more)
    for size in ((720, 576), (720, 480), (544, 576), (352, 288), (1440, 1080)):
        interlaced("TS", "H.264", size, "top", subset=size == (720, 576))
    for size in ((720, 576), (352, 288)):
        interlaced("MKV", "MPEG-2", size, "top")
        interlaced("MP4", "H.264", size, "bottom", subset=size == (352, 288))
    interlaced("MPG", "MPEG-2", (720, 480), "top")
    interlaced("MOV", "DV PAL", (720, 576), "bottom")
    interlaced("AVI", "DV NTSC", (720, 480), "bottom")
    interlaced("DV", "DV PAL", (720, 576), "bottom", to="mkv")
    interlaced("DV", "DV NTSC", (720, 480), "bottom", to="mkv")
    for container, codec, flags in (("TS", "H.264", "-x264-params fake-interlaced=1"), ("MP4", "H.264", "-x264-params fake-interlaced=1")):
        add(group, container, codec, None, "progressive, marked as interlaced", "mp4", clip={"video": flags})
    for container, codec, to in (("MP4", "H.264", "mp4"), ("MKV", "H.264", "mkv"), ("MP4", "H.265", "mkv"),
                                 ("TS", "H.264", "mp4"), ("MKV", "VP9", "webm"), ("MKV", "MPEG-4", "mp4"), ("MKV", "FFV1", "mkv")):
        add(group, container, codec, None, "full range, nothing else said", to,
            clip={"filters": ["scale=out_range=pc", "format=yuv420p"], "video": "-color_range pc"},
            subset=(container, codec) == ("MP4", "H.264"))
    for matrix, primaries, transfer in (("bt709", "bt709", "bt709"), ("smpte170m", "smpte170m", "smpte170m"),
                                        ("bt470bg", "bt470bg", "gamma28"), ("bt2020nc", "bt2020", "bt2020-10"), ("bt2020nc", "bt2020", "arib-std-b67")):
        for container, to in (("MP4", "mp4"), ("MKV", "mkv")):
            colours = f"-colorspace {matrix} -color_primaries {primaries} -color_trc {transfer}"
            add(group, container, "H.264", None, f"{matrix}/{transfer}", to, clip={"video": colours})
    for site in ("left", "center", "topleft"):
        add(group, "MP4", "H.264", None, f"chroma {site}", "mp4", clip={"video": f"-chroma_sample_location {site}"})
    add(group, "TS", "MPEG-2", None, "576 lines, nothing said of colours", "mkv", clip={"size": (720, 576)})
    for container, codec, to in (("MP4", "H.264", "mp4"), ("MOV", "MJPEG", "mp4"), ("MOV", "PNG", "mp4"), ("MOV", "Cinepak", "mp4"),
                                 ("MOV", "ProRes", "mkv"), ("MKV", "VP9", "webm"), ("MKV", "MPEG-4", "mkv"), ("TS", "MPEG-2", "mp4"), ("AVI", "MPEG-4", "mp4"),
                                 ("MOV", "QuickTime Animation", "mov"), ("MOV", "raw UYVY", "mp4"), ("MKV", "MJPEG", "mkv")):
        sar = "12:11" if codec != "MPEG-2" else "16:11"
        add(group, container, codec, None, "pixel aspect", to,
            clip={"filters": [f"setsar={sar}"], **({"video": "-aspect 16:9"} if codec == "MPEG-2" else {})},
            subset=(container, codec) == ("MOV", "MJPEG"))
    for angle in (90, 180, 270):
        for container, to in (("MP4", "mp4"), ("MOV", "mkv")):
            add(group, container, "H.264", "AAC", f"turned by {angle}°", to,
                make=maker.then(maker.clip(container.lower(), "H.264", "AAC"),
                                (container.lower(), f"-c copy -metadata:s:v:0 rotate={angle}")))
    for size in ((177, 145), (175, 144), (176, 143)):
        add(group, "MKV", "H.264", None, f"{size[0]}×{size[1]}", "mp4", size_after=size,
            clip={"size": size, "video": "-pix_fmt yuv444p"}, says=["odd"])
        add(group, "MKV", "VP9", None, f"{size[0]}×{size[1]}", "webm", clip={"size": size})
    for pixels, codec, container in (("yuv420p10le", "H.265", "MP4"), ("yuv422p10le", "H.264", "MKV"), ("yuv444p", "H.264", "MP4"), ("yuv422p", "H.264", "MKV"), ("yuv420p12le", "H.265", "MKV"), ("gray", "FFV1", "MKV")):
        add(group, container, codec, None, pixels, "mp4", clip={"video": f"-pix_fmt {pixels}"},
            levels=2.0, subset=pixels == "gray")


def structure(add, maker):
    """Times, spans, tracks, tags, and how files are put together."""
    group = "Times and structure"
    drop = "select='not(eq(mod(n,5),2))*not(between(n,11,15))'"
    for container, codec, to in (("MP4", "H.264", "mp4"), ("MKV", "H.264", "mkv"), ("MKV", "VP9", "webm"), ("MOV", "H.264", "mov"), ("FLV", "H.264", "mp4"), ("TS", "H.264", "mp4")):
        add(group, container, codec, None, "variable rate", to, clip={"filters": [drop], "video": "-fps_mode vfr"})
    for rate in ("24000/1001", "30000/1001", "60", "12.5", "15"):
        add(group, "MP4", "H.264", "AAC", f"{rate} fps", "mp4", clip={"input_rate": rate})
    # A packet of a program stream states the time of its first picture only.
    for container, codec in (("MPG", "MPEG-1"), ("MPG", "MPEG-2"), ("VOB", "MPEG-2")):
        add(group, container, codec, "MP2", "small pictures share a packet", "mp4",
            times=lambda seen: [seen[0] + n / FRAMES for n in range(len(seen))], subset=codec == "MPEG-1",
            clip={"size": (64, 48), "video": "-bf 2 -q:v 8"})
    add(group, "MP4", "H.264", "AAC", "fragmented", "mp4", clip={"muxing": "-movflags frag_keyframe+empty_moov"})
    add(group, "MP4", "H.264", "AAC", "index in front", "mkv", clip={"muxing": "-movflags +faststart"})
    add(group, "MKV", "H.264", "AAC", "no length, no index", "mp4", clip={"muxing": "-live 1"})
    add(group, "MKV", "H.264", "AC-3", "begins at 10 s", "mkv", clip={"muxing": "-output_ts_offset 10"})
    add(group, "MKV", "H.264", "AAC", "begins at 100,000 s", "mp4", clip={"muxing": "-output_ts_offset 100000"})
    add(group, "TS", "H.264", "AAC", "begins at 90,000 s", "mp4", clip={"muxing": "-output_ts_offset 90000"})
    add(group, "MP4", "H.264", "AAC", "begins at 0.5 s", "mp4", clip={"muxing": "-output_ts_offset 0.5"})
    add(group, "FLV", "H.264", "AAC", "no length", "mp4", clip={"muxing": "-flvflags no_duration_filesize"})

    def part(container, codec, sound, start, length, about, args, to="mp4", **more):
        add(group, container, codec, sound, about, to, args=args, span=(start, start + length), **more)
    for container, codec, sound in (("MP4", "H.264", "AAC"), ("MKV", "H.264", "AAC"), ("TS", "H.264", "AAC"), ("AVI", "MPEG-4", "MP3"),
                                    ("AVI", "MPEG-4 with B-frames", None), ("MPG", "MPEG-2", "MP2"), ("VOB", "MPEG-2", "AC-3"), ("FLV", "H.264", "AAC"),
                                    ("WMV", "WMV2", "WMA 2"), ("OGV", "Theora", "Vorbis"), ("WebM", "VP9", "Opus"), ("MOV", "ProRes", "PCM 16"), ("MPG", "MPEG-1", "MP2")):
        part(container, codec, sound, 0.4, 0.4, "--start 0.4 --duration 0.4", ["--start", "0.4", "--duration", "0.4"],
             subset=(container, codec) in {("MPG", "MPEG-2"), ("AVI", "MPEG-4 with B-frames"), ("FLV", "H.264")})
    for container, codec, sound, begins in (("TS", "H.264", "AAC", 90000), ("MKV", "H.264", "AAC", 100000), ("FLV", "H.264", "AAC", 50)):
        part(container, codec, sound, 0.4, 0.4, f"begins at {begins:,} s, --start 0.4 --duration 0.4",
             ["--start", "0.4", "--duration", "0.4"], clip={"muxing": f"-output_ts_offset {begins}"})
    for ending, codec in (("h264", "H.264"), ("m2v", "MPEG-2"), ("ivf", "VP9")):
        part(f"raw stream ({ending})", codec, None, 0.4, 0.4, "--start 0.4 --duration 0.4",
             ["--start", "0.4", "--duration", "0.4"], ending=ending, times=rate_of(FRAMES), subset=ending == "ivf")
    # One frame stays on the screen from 0.4 s to 0.64 s.
    for container, codec in (("MP4", "H.264"), ("MKV", "H.264"), ("MKV", "VP9"), ("TS", "H.264"), ("FLV", "H.264"), ("WMV", "WMV2"), ("AVI", "ZMBV"), ("MOV", "ProRes")):
        part(container, codec, None, 0.52, 0.3, "--start 0.52 within a still", ["--start", "0.52", "--duration", "0.3"],
             clip={"filters": [drop], "video": "-fps_mode vfr"}, subset=(container, codec) == ("MKV", "VP9"))
    part("MP4", "H.264", "AAC", 0.0, 0.4, "--duration 0.4", ["--duration", "0.4"])
    part("MKV", "H.264", "AAC", 0.6, 1.0, "--start 0.6", ["--start", "0.6"], to="mkv")

    add(group, "MKV", "H.264", "AAC", "title, artist, date", "mkv", tags={"title": "A Title", "artist": "Somebody", "date": "2019"},
        clip={"muxing": ["-metadata", "title=A Title", "-metadata", "artist=Somebody", "-metadata", "date=2019"]})
    add(group, "MP4", "H.264", "AAC", "title, artist, date", "mp4", tags={"title": "A Title", "artist": "Somebody", "date": "2019"},
        clip={"muxing": ["-metadata", "title=A Title", "-metadata", "artist=Somebody", "-metadata", "date=2019"]})
    phone = ["-metadata", "location=+52.5200+013.4050/", "-metadata", "creation_time=2021-06-01T10:20:30Z"]
    for to in ("mp4", "mov", "mkv"):
        add(group, "MP4", "H.264", "AAC", "location, creation time", to, clip={"muxing": phone},
            tags={"location|location-eng|com.apple.quicktime.location.ISO6709": "+52.52",
                  "creation_time|com.apple.quicktime.creationdate|DATE|date|DATE_DIGITIZED": "2021-06-01"})
    model = ["-movflags", "use_metadata_tags", "-metadata", "com.apple.quicktime.make=Apple", "-metadata", "com.apple.quicktime.model=iPhone 12"]
    add(group, "MOV", "H.264", "AAC", "make, model", "mov", clip={"muxing": model},
        tags={"com.apple.quicktime.make|make": "Apple", "com.apple.quicktime.model|model": "iPhone 12"})
    flags = ("-metadata:s:a:0 language=deu -metadata:s:a:1 language=eng -metadata:s:a:1 title=Commentary "
             "-disposition:a:0 0 -disposition:a:1 default")
    for container, to in (("MKV", "mkv"), ("MP4", "mp4"), ("MKV", "mp4")):
        add(group, container, "H.264", "AAC", "languages and default track", to, check_flags=True, check_tags=to == "mkv",
            clip={"sounds": 2, "muxing": flags})
    # Of recordings that were joined FFmpeg tells the times as they stand there, which go back.
    for path, container, codec, sound, about, to, more in (
        ("programme_changes.ts", "TS", "H.264", "AAC", "the programme changes (PMT)", "mkv",
         {"times": False, "sounds": 1}),
        ("sound_leaves.ts", "TS", "H.264", "AAC", "sound leaves (PMT changes)", "mkv",
         {"subset": True, "times": False}),
    ):
        if (DATA / path).exists():
            add(group, container, codec, sound, about, to, make=lambda here, folder, path=path: DATA / path, **more)


def names_in(text):
    """Names of codecs, which may have spaces in them."""
    found, rest = [], text
    for name in sorted(VIDEO, key=len, reverse=True):
        if f" {name} " in f" {rest} ":
            found.append((f" {text} ".index(f" {name} "), name))
            rest = f" {rest} ".replace(f" {name} ", "  ")
    return [name for _, name in sorted(found)]


def rate_of(rate):
    """Times of a stream that says none."""
    return lambda seen: [n / rate for n in range(len(seen))]


def top_down(data):
    """An AVI of RGB whose lines go from the top to the bottom: its height is negative."""
    at = data.index(b"strf") + 8
    width_at, height_at = at + 4, at + 8
    height = int.from_bytes(data[height_at:height_at + 4], "little", signed=True)
    return data[:height_at] + (-abs(height)).to_bytes(4, "little", signed=True) + data[height_at + 4:]
