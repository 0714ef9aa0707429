"""Several hundred short texts of the kinds that tokenizers disagree about."""
# ruff: noqa: RUF001 - letters that look like others are what this file is about.

from __future__ import annotations

import random

CHINESE = [
    "红色的灯笼",
    "今天天气很好，我们去公园吧。",
    "中文abc中 文。",
    "2024年款 新品 ¥199.00 包邮",
    "【官方正品】华为Mate60 Pro+ 512GB 雅川青",
    "繁體中文與简体中文",
    "「引號」『雙引號』《書名》",
    "㊣品保證 ㎏ ㍻ ㈱",
    "𠮷野家 𠀋 𪚥 龘 㐀 㒨 丽",
    "一二三四五六七八九十百千万亿",
    "我爱北京天安门" * 9,
    "〇○零",
    "全角：ＡＢＣ１２３！？（）",
    "中国人民银行 ATM 機",
]
JAPANESE = [
    "ひらがなとカタカナと漢字",
    "ｶﾀｶﾅ ﾊﾟﾋﾟﾌﾟ ガギグゲゴ カ\u3099",
    "東京都渋谷区1-2-3",
    "ラーメン・餃子セット（税込）",
    "々〆ヶゝゞヽヾー〜",
    "カタカナだけのながいことば" * 4,
    "お茶☕を飲む👍🏽",
]
OTHERS = [
    "한국어 텍스트 가나다 각",
    "ไทยแลนด์ ก็ น้ำ ไม่มี",
    "हिन्दी में लिखा क्षत्रिय श्री",
    "العربية مرحبا بالعالم ١٢٣ ـ لا",
    "עברית שָׁלוֹם עולם",
    "Привет мир ёлка Ёж Йод",
    "Ελληνικά ΟΔΥΣΣΕΎΣ ς σ Σ ΑΣ ΐ ΰ",
    "Tiếng Việt đặc biệt ưu đãi",
    "İstanbul ISPARTA ılık ığdır İ i̇",
    "Straße STRAẞE ß ss ſ",
    "naïve café cafe\u0301 ÀÉÎõü ǅ ǆ",
    "Æsop œuvre Ångström Å \u212b ø",
    "ქართული ႠႡ ᲐᲑ Հայերեն",
    "ᠮᠣᠩᠭᠣᠯ བོད་ཡིག ខ្មែរ မြန်မာ",
    "𝕳𝖊𝖑𝖑𝖔 𝟙𝟚𝟛 🅰 ⓐⓑ ①② Ⅷ",
    "ﬁne oﬃce ㎏ ℃ µ μ Ω Ω K K",
    "½ kg, 10² m² ², 5º º, ™ tea™ © ®",
    "x̂ ÿ̂̄ Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚ā̱",
    "\u1112\u1161\u11ab \u1100\u1161",
]
EMOJI = [
    "☕ 👍🏽 👨\u200d👩\u200d👧 tea",
    "🏳️\u200d🌈 ❤️ ❤ ☺️ ☺",
    "👩🏿\u200d🚀👩\u200d❤️\u200d💋\u200d👨",
    "🇨🇳🇯🇵🇰🇷 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "1️⃣2️⃣#️⃣ 🔟 ©️",
    "🍦🍎🧁🥐🫐 😂🤣🥲",
    "a😀b中😀文😀",
]
CODES = [
    "",
    " ",
    "\t\n\r ",
    "\u3000\u3000",
    "\u00a0",
    "\u200b",
    "\ufeff",
    "\x00",
    "tab\ttab\nline\r\nline\u2028line\u2029line\u0085next",
    "bell\x07 nul\x00l del\x7f esc\x1b[0m vt\x0bff\x0c",
    "zero\u200bwidth soft\u00adhyphen no\u00a0break thin\u2009space",
    "left\u200eright\u200f \u202ertl\u202c word\u2060joiner \ufeffbom",
    "re\ufffdplaced \ue000private \U000f0000plane \uffff\ufdd0none",
    "a-b_c.d,e'f#g$h^i`j|k~l+m=n<o>p",
    "it's we're I'll they've I'd don't I'm IT'S 'twas ''quoted'' ``tick``",
    "wait… what‥ – — ― ‐ ‑ • · ※ § ¶ † ‡ ‰ ′ ″",
    "C++ C# .NET node.js a.b.c http://example.com/?q=1&r=2#x @me #tag",
    "$1,234.56 1,2,3 €5 £6 ¥7 ₹8 10% 3×4 5÷2 ±1 −2",
    "  leading and trailing  ",
    "a  b   c    d",
    "\n\nblank\n\n\nlines\n",
    "x \n y\t\tz",
    "UPPER lower MiXeD cAmElCase snake_case",
    "the The THE tHe",
    "unusedword zzz [unused0] q",
    "▁ a▁b ▁▁ Ġ Ċ ##a ##",
    "x" * 99,
    "x" * 100,
    "x" * 101,
    "ไ" * 60,
    "カ" * 99,
    "カ" * 101,
    "é" * 100,
    "e\u0301" * 60,
]
SPECIAL = [
    "[UNK]",
    "[CLS] a [SEP]",
    "[PAD][PAD]",
    "a[MASK]b",
    "a [MASK] b",
    "[cls] [Sep]",
    "[ CLS ] [CLS ]",
    "[CLS[SEP]]",
    "[C\x00LS]",
    "<s> a </s>",
    "a <mask> b<mask>",
    "<pad><unk>",
    "<S> </S> <MASK>",
    "< s >",
    "the[SEP]the",
    "中[SEP]文",
]
LONG = [
    "中文" * 5_000,
    "a, " * 3_333,
    "x" * 10_000,
    "the quick brown fox " * 500,
    "☕" * 10_000,
    " " * 10_000,
    "カタカナ。" * 2_000,
]


def mixtures(count: int, seed: int = 0) -> list[str]:
    """Texts of a few fragments of the others, joined with and without a space."""
    rng = random.Random(seed)
    kinds = [CHINESE, JAPANESE, OTHERS, EMOJI, CODES, SPECIAL]

    def fragment() -> str:
        text = rng.choice(rng.choice(kinds))[:80]
        begin = rng.randrange(len(text) + 1)
        return text[begin : begin + rng.randint(1, 12)]

    return [
        "".join(
            fragment() + rng.choice(["", " ", "", "  ", "\t"])
            for _ in range(rng.randint(1, 6))
        )
        for _ in range(count)
    ]


TEXTS = [*CHINESE, *JAPANESE, *OTHERS, *EMOJI, *CODES, *SPECIAL, *mixtures(400)]
