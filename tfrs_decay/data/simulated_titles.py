"""What the simulated shop sells: its themes, and the words its titles are made of.

Each theme has a handful of goods and of variants that suit any of them. A title is one
of each, "two-person dome tent, forest green", so that a text encoder which has never
seen the shop can still tell a theme from its neighbours.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Theme(NamedTuple):
    """One interest that people can have, and the goods that go with it."""

    name: str
    goods: tuple[str, ...]
    variants: tuple[str, ...]

    def titles(self, count: int, rng: np.random.Generator) -> list[str]:
        """Draws distinct titles; every kind of goods comes before any comes twice.

        Args:
            count: How many, at most goods times variants.
            rng: Decides which goods come in which variants.
        """
        goods = rng.permutation(len(self.goods))
        variants = [rng.permutation(len(self.variants)) for _ in self.goods]
        chosen = (
            (goods[n % len(goods)], variants[n % len(goods)][n // len(goods)])
            for n in range(count)
        )
        return [f"{self.goods[one]}, {self.variants[how]}" for one, how in chosen]


def _theme(name: str, goods: str, variants: str) -> Theme:
    def listed(text: str) -> tuple[str, ...]:
        return tuple(" ".join(one.split()) for one in text.split(";"))

    return Theme(name, listed(goods), listed(variants))


THEMES = (
    _theme(
        "camping",
        """Two-person dome tent; Down sleeping bag; Folding camping chair;
        Gas camping stove; Inflatable sleeping mat; Camping lantern; Camp cookware set;
        Waterproof tent groundsheet; Camping hammock; Insulated water canteen""",
        """forest green; lightweight; for three seasons; with carry bag; expedition
        grade; sand""",
    ),
    _theme(
        "baking",
        """Springform cake tin; Silicone baking mat; Bread proving basket; Rolling pin;
        Muffin tray; Icing piping set; Cookie cutters; Mixing bowl for dough;
        Digital baking scale; Loaf tin""",
        """non-stick; for beginners; heavy gauge; with recipe card; large; vintage
        style""",
    ),
    _theme(
        "knitting",
        """Merino wool yarn; Bamboo knitting needles; Crochet hook set;
        Knitting pattern book; Stitch markers; Yarn bowl; Chunky alpaca wool;
        Circular knitting needles; Sock knitting kit; Wool winder""",
        """oatmeal; heather grey; mustard; for beginners; hand finished; dusty pink""",
    ),
    _theme(
        "cycling",
        """Road bike helmet; Padded cycling shorts; Bicycle floor pump; Bike chain lube;
        Rear bicycle light; Cycling gloves; Inner tube repair kit; Bike pannier bag;
        Bicycle bell; Cycle computer""",
        """high visibility; matte black; for commuting; race fit; waterproof; signal
        red""",
    ),
    _theme(
        "gardening",
        """Pruning shears; Terracotta plant pot; Garden trowel; Vegetable seed tray;
        Watering can; Gardening gloves; Compost bin; Wildflower seed mix;
        Garden hose reel; Plant support canes""",
        """moss green; galvanised steel; for small gardens; long handled; frost proof;
        made from recycled material""",
    ),
    _theme(
        "coffee",
        """Pour-over coffee dripper; Burr coffee grinder; Espresso tamper;
        Single origin coffee beans; French press; Milk frothing jug;
        Coffee filter papers; Cold brew bottle; Espresso cups; Moka pot""",
        """stainless steel; for two cups; dark roast edition; barista grade; ceramic;
        matte black""",
    ),
    _theme(
        "running",
        """Cushioned running shoes; Reflective running vest; Running belt;
        Compression running socks; Trail running shoes; Breathable running shirt;
        Runner's hydration pack; Running cap; Marathon energy gels; Running shorts""",
        """neon yellow; wide fit; for long distance; ultralight; winter edition; royal
        blue""",
    ),
    _theme(
        "dogs",
        """Dog harness; Orthopaedic dog bed; Rubber chew toy for dogs;
        Retractable dog lead; Dog food bowl; Puppy training treats; Dog grooming brush;
        Dog raincoat; Squeaky dog ball; Dog car seat cover""",
        """for small breeds; for large breeds; red; washable; extra durable; navy""",
    ),
    _theme(
        "fishing",
        """Carbon fishing rod; Spinning reel; Fishing tackle box; Trout fly assortment;
        Landing net; Braided fishing line; Fishing waders; Carp bait boilies;
        Lure set for pike; Fishing float kit""",
        """saltwater grade; telescopic; for beginners; camouflage; professional; river
        edition""",
    ),
    _theme(
        "painting",
        """Watercolour paint set; Acrylic paint tubes; Stretched canvas;
        Sable paint brushes; Wooden easel; Oil paint starter set; Watercolour paper pad;
        Artist's palette; Gouache paints; Palette knives""",
        """student quality; artist quality; pocket size; 24 colours; A3; gift boxed""",
    ),
    _theme(
        "baby",
        """Muslin baby swaddle; Baby bottle steriliser; Newborn sleepsuit;
        Nappy changing mat; Baby monitor; Teething ring; Cot mobile; Baby carrier wrap;
        Weaning spoons for infants; Pram blanket""",
        """pale mint; organic cotton; from birth; clouds print; easy to clean; elephant
        print""",
    ),
    _theme(
        "board games",
        """Cooperative board game; Chess set; Strategy board game; Family card game;
        Dice set for role playing; Dominoes; Party quiz game; Miniature wargame starter;
        Backgammon case; Board game sleeves""",
        """for two players; travel edition; for the whole family; deluxe wooden;
        anniversary edition; expansion included""",
    ),
    _theme(
        "yoga",
        """Cork yoga mat; Yoga block; Meditation cushion; Yoga strap; High-waist yoga
        leggings; Yoga bolster; Pilates ring; Yoga towel; Mat carrying sling; Balance
        board for yoga""",
        """lavender; extra thick; non-slip; for beginners; natural; midnight blue""",
    ),
    _theme(
        "photography",
        """Camera tripod; Prime portrait lens; Camera shoulder bag; ND filter kit;
        Memory card for cameras; Camera cleaning kit; Studio softbox; Camera strap;
        Lens hood; Flash diffuser""",
        """carbon fibre; for mirrorless cameras; weather sealed; compact; tan leather;
        professional""",
    ),
    _theme(
        "woodworking",
        """Dovetail saw; Chisel set; Wood plane; Bar clamps; Carving knives;
        Orbital wood sander; Marking gauge; Wood glue; Woodworking mallet;
        Router bit set""",
        """hardened steel; beech handle; for fine joinery; workshop grade; with case;
        compact""",
    ),
    _theme(
        "skincare",
        """Hydrating face serum; Clay face mask; Vitamin C moisturiser; Gentle facial
        cleanser; Eye cream; Rose water toner; Sunscreen lotion; Exfoliating scrub; Lip
        balm; Night cream""",
        """for sensitive skin; fragrance free; travel size; vegan; for dry skin; refill
        pack""",
    ),
    _theme(
        "lighting",
        """Pendant lamp shade; Bedside table lamp; LED filament bulb; Floor lamp;
        String fairy lights; Wall sconce light; Desk reading lamp; Ceiling spotlight;
        Lamp dimmer switch; Paper lantern lampshade""",
        """warm white; brushed brass; frosted glass; smart controlled; black metal;
        linen""",
    ),
    _theme(
        "aquarium",
        """Aquarium heater; Tropical fish food; Fish tank gravel; Aquarium filter pump;
        Live aquarium plants; Fish tank LED hood; Water test kit for aquariums;
        Aquarium siphon cleaner; Driftwood for fish tanks; Nano glass aquarium""",
        """for 60 litres; quiet running; for beginners; freshwater; energy saving;
        planted tank edition""",
    ),
    _theme(
        "guitar",
        """Acoustic guitar strings; Guitar capo; Electric guitar cable; Guitar tuner
        pedal; Guitar picks; Padded guitar gig bag; Guitar stand; Overdrive effects
        pedal; Guitar strap; Classical guitar songbook""",
        """medium gauge; vintage sunburst; stage ready; for learners; nickel; black""",
    ),
    _theme(
        "stationery",
        """Fountain pen; Dotted notebook; Brush lettering pens; Weekly desk planner;
        Wax seal kit; Washi tape; Bottled fountain pen ink; Leather journal;
        Mechanical pencil; Sticky index notes""",
        """fine nib; pastel; A5; recycled paper; midnight blue; gift boxed""",
    ),
    _theme(
        "cats",
        """Cat scratching post; Cat litter tray; Feather wand cat toy; Window cat
        perch; Catnip mice; Cat flap; Cat carrier; Self-cleaning cat brush;
        Kitten food pouches; Cat water fountain""",
        """grey; extra large; for indoor cats; sisal; quiet; washable""",
    ),
    _theme(
        "swimming",
        """Anti-fog swimming goggles; Swim cap; Training kickboard; Open water wetsuit;
        Swimming fins; Pull buoy; Chlorine-resistant swimsuit; Quick dry swim towel;
        Swim snorkel; Poolside sandals""",
        """junior; race fit; aqua; mirrored; long length; black""",
    ),
    _theme(
        "home office",
        """Ergonomic office chair; Height adjustable desk; Monitor arm; Wireless
        keyboard; Noise cancelling headset; Laptop riser; Webcam; Cable tidy tray;
        Office footrest; Desk organiser""",
        """black; white; compact; mesh; oak; for video calls""",
    ),
    _theme(
        "birdwatching",
        """Birdwatching binoculars; Bird feeder; Nesting box for birds; Field guide to
        birds; Sunflower bird seed; Spotting scope; Bird bath; Suet balls for birds;
        Hummingbird nectar feeder; Bird hide camouflage net""",
        """8 x 42; for garden birds; waterproof; squirrel proof; hanging; weathered
        oak""",
    ),
)
"""The themes, in a fixed order: a smaller shop sells the first of them."""
