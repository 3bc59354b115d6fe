// catalogue.c - a small catalogue, and two models made by hand for it, for the tests of the command line.
//
//     build/catalogue DIR      items.tsv, keyphrases.tsv, student.kpd, assistant.kpd in DIR, which is there
//
// The models know only which words are equal (examples/tiny.h), so that a test can say what they must answer.
#include "../kpd.h"
#include "../examples/tiny.h"

typedef struct item { const char *title, *category; } item;

static const item ITEMS[] = {
    {"Zephyra Glide 3 Wireless Earbuds with Charging Case Midnight Blue", "Earbuds"},
    {"Genuine Norvik 65W USB C Laptop Charger Adapter for Norvik Slate 13", "Laptop Chargers"},
    {"Ombrelle Clear Silicone Case for Tavo X2 Phone Shockproof", "Phone Cases"},
    {"Kestra Trail 40L Hiking Backpack Waterproof with Rain Cover", "Backpacks"},
    {"Lumipod Desk Lamp LED Dimmable with Wireless Charging Pad White", "Desk Lamps"},
    {"Brewmont Stovetop Espresso Maker 6 Cup Aluminium", "Espresso Makers"},
    {"Pixelon M50 Mirrorless Camera Body 24MP Black", "Cameras"},
    {"Zephyra Boom Portable Bluetooth Speaker Waterproof Red", "Speakers"},
    {"Tavo X2 Smartphone 128GB Unlocked Graphite", "Smartphones"},
    {"Karoo Kids Bike Helmet Adjustable Green Size S", "Bike Helmets"},
    {"Norvik Slate 13 Laptop Sleeve Grey Felt", "Laptop Sleeves"},
    {"Pixelon 50mm Camera Lens f1.8 for Pixelon Mirrorless", "Camera Lenses"},
};

static const char *const PHRASES[] = {
    "wireless earbuds", "zephyra earbuds", "blue earbuds", "earbuds charging case", "zephyra glide 3", "bluetooth earbuds",
    "usb c laptop charger", "norvik charger", "norvik slate 13 charger", "65w charger", "laptop adapter", "65w usb c charger",
    "tavo x2 case", "clear phone case", "shockproof case", "silicone case tavo x2", "case for tavo x2", "phone case",
    "hiking backpack", "waterproof backpack", "40l backpack", "backpack with rain cover", "kestra backpack", "school backpack",
    "led desk lamp", "desk lamp wireless charging", "white desk lamp", "dimmable lamp", "wireless charging pad", "floor lamp",
    "stovetop espresso maker", "espresso maker 6 cup", "coffee maker", "brewmont espresso maker", "moka pot",
    "mirrorless camera", "pixelon m50", "pixelon camera body", "24mp camera", "black mirrorless camera", "camera bag",
    "bluetooth speaker", "waterproof speaker", "portable bluetooth speaker", "zephyra boom", "red speaker", "zephyra speaker",
    "tavo x2", "unlocked smartphone", "tavo x2 128gb", "128gb smartphone unlocked",
    "kids bike helmet", "green bike helmet", "karoo helmet", "bike light",
    "laptop sleeve", "norvik slate 13 sleeve", "felt laptop sleeve", "50mm lens", "pixelon 50mm lens",
};

enum { N_ITEMS = sizeof ITEMS / sizeof *ITEMS, N_PHRASES = sizeof PHRASES / sizeof *PHRASES };

static int failed(const char *path, const char *why) {
    fprintf(stderr, "catalogue: %s: %s\n", path, why);
    return 1;
}

static int write_texts(const char *dir) {
    char path[2][600];
    FILE *f[2];
    int bad = 0;
    snprintf(path[0], sizeof path[0], "%s/items.tsv", dir);
    snprintf(path[1], sizeof path[1], "%s/keyphrases.tsv", dir);
    for (int k = 0; k < 2; k++) {
        f[k] = fopen(path[k], "wb");
        if (!f[k]) return failed(path[k], "cannot write");
    }
    for (int i = 0; i < N_ITEMS; i++) fprintf(f[0], "%s\t%s\n", ITEMS[i].title, ITEMS[i].category);
    for (int i = 0; i < N_PHRASES; i++) fprintf(f[1], "%d\t%s\n", i, PHRASES[i]);
    for (int k = 0; k < 2; k++) bad += fclose(f[k]) != 0;
    return bad ? failed(dir, "cannot write") : 0;
}

static int write_model(kpd_model *m, const char *dir, const char *name) {
    char path[600];
    kpd_error e;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (kpd_model_save(m, path, &e)) return failed(path, e.message);
    kpd_model_destroy(m);
    return 0;
}

// The vocabulary has the words of the catalogue.
int main(int argc, char **argv) {
    const char *texts[2 * N_ITEMS + N_PHRASES];
    size_t n = 0;
    kpd_error e;
    kpd_model *student, *assistant;
    if (argc != 2) return failed("DIR", "is missing");
    for (int i = 0; i < N_ITEMS; i++) {
        texts[n++] = ITEMS[i].title;
        texts[n++] = ITEMS[i].category;
    }
    for (int i = 0; i < N_PHRASES; i++) texts[n++] = PHRASES[i];
    if (tiny_student(texts, n, &student, &e) || tiny_assistant(texts, n, &assistant, &e)) return failed("models", e.message);
    return write_texts(argv[1]) || write_model(student, argv[1], "student.kpd") ||
           write_model(assistant, argv[1], "assistant.kpd");
}
